"""What the programs here share: where results go, and what a reader must know of the machine."""

import json
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.bench import measures
from headrace.bench.process import HeadraceServer
from peers.ours import Ours
from peers.peer import running

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
SCRATCH = ROOT / "build" / "bench"
"""On the disk of the repository."""


def machine(base: Path) -> dict[str, Any]:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"commit": described.stdout.strip() or "unknown", **measures.machine(base)}


def save(name: str, results: dict[str, Any], out: Path | None = None) -> Path:
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def load(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


@contextmanager
def served(base: Path) -> Iterator[HeadraceServer]:
    """A ready headrace on an empty directory below `base`; both gone afterwards."""
    with running(Ours, base) as system:
        assert isinstance(system.server, HeadraceServer)
        yield system.server


def raise_file_limit() -> int:
    """Children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
