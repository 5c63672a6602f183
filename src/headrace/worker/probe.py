"""What this host has to offer: processors, memory, disk, GPUs.

A worker in a container sees the host's totals in most places, so each amount is the smallest of
what the host, the process's affinity and each level of its control groups allow.
"""

import math
import os
import platform
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

_CPU_MILLI: Final = 1_000
_MIB: Final = 1 << 20
_UNLIMITED_BYTES_MIN: Final = 1 << 60  # version 1 writes "no limit" as a huge number


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Amounts are integers in their smallest unit, as matching wants them."""

    cpu_milli: int
    memory_mb: int
    storage_mb: int  # free where the worker keeps its files
    gpu_count: int
    gpu_milli: int
    gpu_model: str | None  # of the first GPU; jobs are matched against one model per worker
    hostname: str
    labels: dict[str, str]


def probe(directory: Path = Path(), *, root: Path = Path("/")) -> Capacity:
    """Measure this host. Never raises: what cannot be read counts as not limited, or not there.

    directory: where the worker keeps its files. root: of `/proc` and `/sys`.
    """
    groups = _group_directories(root)
    gpu_count, gpu_model = _gpus()
    return Capacity(
        cpu_milli=_cpu_milli(groups),
        memory_mb=_memory_mb(groups),
        storage_mb=_storage_mb(directory),
        gpu_count=gpu_count,
        gpu_milli=gpu_count * 1_000,
        gpu_model=gpu_model,
        hostname=socket.gethostname(),
        labels={"os": platform.system().lower(), "arch": platform.machine().lower()},
    )


def _cpu_milli(groups: "_Groups") -> int:
    milli = (os.cpu_count() or 1) * _CPU_MILLI
    with suppress(AttributeError, OSError):
        milli = len(os.sched_getaffinity(0)) * _CPU_MILLI
    for directory in groups.unified:
        quota, _, period = (_read(directory / "cpu.max") or "").partition(" ")
        milli = min(milli, _quota_milli(quota, period, milli))
    for directory in groups.cpu:
        quota = _read(directory / "cpu.cfs_quota_us") or ""
        period = _read(directory / "cpu.cfs_period_us") or ""
        milli = min(milli, _quota_milli(quota, period, milli))
    return milli


def _quota_milli(quota: str, period: str, unlimited: int) -> int:
    """Turn microseconds of processor time per period into thousandths of a processor."""
    quota_us, period_us = _whole(quota), _whole(period)
    if quota_us is None or period_us is None or quota_us <= 0 or period_us <= 0:
        return unlimited  # "max", "-1", or nothing readable
    return max(1, math.floor(quota_us * _CPU_MILLI / period_us))


def _memory_mb(groups: "_Groups") -> int:
    limits = []
    with suppress(OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for directory, name in [
        *((directory, "memory.max") for directory in groups.unified),
        *((directory, "memory.limit_in_bytes") for directory in groups.memory),
    ]:
        limit = _whole(_read(directory / name) or "")
        if limit is not None and 0 < limit < _UNLIMITED_BYTES_MIN:
            limits.append(limit)
    return min(limits, default=0) // _MIB


def _storage_mb(directory: Path) -> int:
    for candidate in (directory.absolute(), *directory.absolute().parents):
        with suppress(OSError):  # the directory may not be made yet
            return shutil.disk_usage(candidate).free // _MIB
    return 0


def _gpus() -> tuple[int, str | None]:
    """Count the GPUs of the NVIDIA driver; without driver or library there are none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the driver's errors are of many classes, and none may stop a worker
        return 0, None
    try:
        count = int(pynvml.nvmlDeviceGetCount())
        if count == 0:
            return 0, None
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
        return count, name.decode() if isinstance(name, bytes) else str(name)
    except Exception:
        return 0, None
    finally:
        with suppress(Exception):
            pynvml.nvmlShutdown()


class _Groups(msgspec.Struct, frozen=True):
    """Directories of the process's control groups and their parents, innermost first."""

    unified: list[Path]  # version 2
    cpu: list[Path]  # version 1
    memory: list[Path]  # version 1


def _group_directories(root: Path) -> _Groups:
    groups = _Groups([], [], [])
    mount = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            for place in (mount, mount / "unified"):
                groups.unified.extend(_lineage(place, path))
            continue
        for wanted, found in (("cpu", groups.cpu), ("memory", groups.memory)):
            if wanted in controllers.split(","):
                for place in {mount / controllers, mount / wanted}:
                    found.extend(_lineage(place, path))
    return groups


def _lineage(mount: Path, path: str) -> list[Path]:
    """The group's directory and those above it, as far as they are visible from here.

    Inside a container the path may name a group of the host that is not mounted; the mount's own
    root is then the container's group.
    """
    parts = [part for part in path.split("/") if part and part != ".."]
    lineage = [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return [directory for directory in lineage if directory.is_dir()]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
