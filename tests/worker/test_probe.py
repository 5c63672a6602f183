"""The probe on trees that look like `/proc` and `/sys` of other hosts."""

import os
import sys
import types
from pathlib import Path

import pytest

from headrace.worker.probe import Capacity, probe

MIB = 1 << 20


def host(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")
    return root


def own_cpu_milli() -> int:
    return len(os.sched_getaffinity(0)) * 1_000


def test_this_host_has_something_to_offer(tmp_path: Path) -> None:
    found = probe(tmp_path)
    assert isinstance(found, Capacity)
    assert 1 <= found.cpu_milli <= own_cpu_milli()
    assert found.memory_mb > 0
    assert found.storage_mb > 0
    assert found.hostname
    assert found.labels["os"] == "linux"
    assert found.labels["arch"]


def test_directory_that_is_not_made_yet_counts_its_parent(tmp_path: Path) -> None:
    assert probe(tmp_path / "a" / "b").storage_mb > 0


def test_unified_groups_limit_processors_and_memory(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/box",
            "sys/fs/cgroup/pod/box/cpu.max": "50000 100000",
            "sys/fs/cgroup/pod/box/memory.max": "max",
            "sys/fs/cgroup/pod/memory.max": str(256 * MIB),
            "sys/fs/cgroup/pod/cpu.max": "max 100000",
        },
    )
    found = probe(tmp_path, root=root)
    assert (found.cpu_milli, found.memory_mb) == (500, 256)


def test_group_path_of_the_host_falls_back_to_the_mount(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../somewhere/on/the/host",
            "sys/fs/cgroup/cpu.max": "25000 100000",
            "sys/fs/cgroup/memory.max": str(128 * MIB),
        },
    )
    found = probe(tmp_path, root=root)
    assert (found.cpu_milli, found.memory_mb) == (250, 128)


def test_first_version_groups_limit_processors_and_memory(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "75000",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(512 * MIB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    found = probe(tmp_path, root=root)
    assert (found.cpu_milli, found.memory_mb) == (750, 512)


def test_no_limit_in_the_first_version_is_no_limit(tmp_path: Path) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n1:cpu:/",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    found = probe(tmp_path, root=root)
    assert found.cpu_milli == own_cpu_milli()
    assert found.memory_mb > 16


@pytest.mark.parametrize("junk", ["", "not a number", "0 0", "-5 x", "\x00"])
def test_unreadable_limits_are_no_limits(tmp_path: Path, junk: str) -> None:
    root = host(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\ngarbage\n::",
            "sys/fs/cgroup/cpu.max": junk,
            "sys/fs/cgroup/memory.max": junk,
        },
    )
    assert probe(tmp_path, root=root).cpu_milli == own_cpu_milli()


def nvml(count: int, name: str | bytes) -> types.ModuleType:
    module = types.ModuleType("pynvml")
    vars(module).update(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: name,
    )
    return module


@pytest.mark.parametrize("name", ["NVIDIA H100", b"NVIDIA H100"])
def test_gpus_are_counted_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | bytes
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(2, name))
    found = probe(tmp_path)
    assert (found.gpu_count, found.gpu_milli, found.gpu_model) == (2, 2_000, "NVIDIA H100")


def test_driver_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = nvml(1, "x")

    def fail() -> int:
        raise RuntimeError("driver and library do not match")

    vars(broken)["nvmlDeviceGetCount"] = fail
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert probe(tmp_path).gpu_count == 0
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert probe(tmp_path).gpu_model is None
