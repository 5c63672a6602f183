"""Handlers over the scenes of a Godot project: load, validate, preload, warm a cache.

    HEADRACE_GODOT_PROJECT=path/to/game headrace work headrace.worker.examples.godot:worker

Without the variable the project is the working directory. Paths in params begin with `res://` and
lead nowhere but into the project. A scene that is broken or not there is told in the result, with
the lines to look at; the job itself completes.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from headrace.worker.examples.tscn import SCENE_BYTES_MAX, Flaw, Scene, read_scene, short
from headrace.worker.handlers import Context, PermanentError, Stopped, Worker, WorkerDefinitionError

PROJECT_VARIABLE: Final = "HEADRACE_GODOT_PROJECT"
RES: Final = "res://"
SUFFIX: Final = ".tscn"
SCENE_TYPE: Final = "PackedScene"
PATHS_MAX: Final = 1_000
"""Scenes that one job names."""
PATH_CHARS_MAX: Final = 500
FLAWS_TOLD_MAX: Final = 1_000
"""Of one job, over all its scenes: a result has its bound."""
NEEDED_SCENES_MAX: Final = 1_000
"""That one scene pulls in, by instances of instances."""
WARMED_SCENES_MAX: Final = 10_000
FILES_SEEN_MAX: Final = 200_000
CACHE_BYTES_MAX: Final = 64 << 20
"""Of files whose scenes are kept."""
CACHE_SCENES_MAX: Final = 4_096

worker = Worker()


class SceneFileError(Exception):
    """A scene that cannot be read at all."""


# Files ------------------------------------------------------------------------------------------


class Project:
    """A directory of scenes, and those read last. Safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock = Lock()
        self._kept: OrderedDict[Path, tuple[tuple[int, int], Scene]] = OrderedDict()
        """Path → time and size of the file, and its scene; the one asked for last is last."""
        self._kept_bytes = 0

    def locate(self, path: str) -> Path:
        """Return the file of a `res://` path. Raises: SceneFileError, the same for what is
        outside of the project as for what is nowhere."""
        if not path.startswith(RES):
            raise SceneFileError(f"a path begins with {RES}")
        try:
            found = (self.root / path.removeprefix(RES).lstrip("/")).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # not there; a loop of links; a NUL
            found = None
        if found is None or not found.is_relative_to(self.root):
            raise SceneFileError("there is no such file in the project")
        return found

    def scene(self, path: str) -> Scene:
        """Return a scene, read now or kept since its file was last changed."""
        if not path.endswith(SUFFIX):
            raise SceneFileError(f"a scene is a {SUFFIX} file")
        file = self.locate(path)
        try:
            return self._scene(file)
        except OSError as error:
            raise SceneFileError(f"it cannot be read: {error.strerror}") from None

    def _scene(self, file: Path) -> Scene:
        with open(file, "rb", opener=_open_plain) as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SceneFileError("it is no plain file")
            state = status.st_mtime_ns, status.st_size
            with self._lock:
                kept = self._kept.get(file)
                if kept is not None and kept[0] == state:
                    self._kept.move_to_end(file)
                    return kept[1]
            data = opened.read(SCENE_BYTES_MAX + 1)
        if len(data) > SCENE_BYTES_MAX:
            raise SceneFileError(f"it is larger than {SCENE_BYTES_MAX >> 20} MiB")
        scene = read_scene(data)
        with self._lock:
            self._keep(file, state, scene)
        return scene

    def _keep(self, file: Path, state: tuple[int, int], scene: Scene) -> None:
        before = self._kept.pop(file, None)
        if before is not None:
            self._kept_bytes -= before[0][1]
        self._kept[file] = state, scene
        self._kept_bytes += state[1]
        while self._kept_bytes > CACHE_BYTES_MAX or len(self._kept) > CACHE_SCENES_MAX:
            _, (dropped, _scene) = self._kept.popitem(last=False)
            self._kept_bytes -= dropped[1]

    def exists(self, path: str) -> bool:
        try:
            return self.locate(path).is_file()
        except SceneFileError:
            return False

    def scene_paths(self) -> Iterator[str]:
        """Yield the scenes of the project in order; hidden folders hold none."""
        seen = 0
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            seen += len(files)
            if seen > FILES_SEEN_MAX:
                return
            inner = Path(folder).relative_to(self.root)
            for name in sorted(files):
                if name.endswith(SUFFIX):
                    yield RES + (inner / name).as_posix()


def _open_plain(name: str, flags: int) -> int:
    """Follow no link that has come since, and wait for no pipe's other end."""
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _project() -> Project:
    root = Path(os.environ.get(PROJECT_VARIABLE) or ".")
    if not root.is_dir():
        raise WorkerDefinitionError(f"{PROJECT_VARIABLE} names no directory: {root}")
    return Project(root)


project = _project()


# What is told of a scene ------------------------------------------------------------------------


class Outcome(msgspec.Struct, omit_defaults=True, kw_only=True):
    scene_path: str
    success: bool
    action: str = ""
    nodes: int = 0
    scenes: int = 0
    """Further scenes that it needs and that were loaded."""
    error: str = ""
    flaws: list[Flaw] = []
    flaws_left_out: int = 0


def load(place: Project, path: str) -> Outcome:
    """Read a scene and all scenes that it is made of."""
    scene = place.scene(path)
    loaded, missing = _load_needed(place, path, scene)
    return _outcome(path, scene, missing, scenes=loaded)


def validate(place: Project, path: str) -> Outcome:
    """Read a scene and look whether the files that it names are there."""
    scene = place.scene(path)
    missing = [
        Flaw(resource.line, f"the file of ext_resource {short(resource.id)} is not there")
        for resource in scene.ext_resources.values()
        if resource.path.startswith(RES) and not place.exists(resource.path)
    ]
    return _outcome(path, scene, missing)


def _load_needed(place: Project, path: str, scene: Scene) -> tuple[int, list[Flaw]]:
    """Read what a scene is made of. Returns how many scenes, and what of this one was missing."""
    seen = {path}
    missing: list[Flaw] = []
    level = [(0, scene)]
    while level:
        below: list[tuple[int, Scene]] = []
        for line, above in level:
            for resource in above.ext_resources.values():
                if resource.type != SCENE_TYPE or resource.path in seen:
                    continue
                at = line or resource.line  # a flaw far below is told where this scene names it
                if len(seen) > NEEDED_SCENES_MAX:
                    missing.append(Flaw(at, f"it needs more than {NEEDED_SCENES_MAX} scenes"))
                    return len(seen) - 1, missing
                try:
                    below.append((at, place.scene(resource.path)))
                    seen.add(resource.path)
                except SceneFileError as error:
                    missing.append(Flaw(at, f"a scene that it needs is not loaded: {error}"))
        level = below
    return len(seen) - 1, missing


def _outcome(path: str, scene: Scene, missing: list[Flaw], scenes: int = 0) -> Outcome:
    flaws = sorted([*scene.flaws, *missing], key=lambda flaw: flaw.line)
    return Outcome(
        scene_path=path,
        success=not flaws,
        nodes=len(scene.nodes),
        scenes=scenes,
        flaws=flaws,
        flaws_left_out=scene.flaws_left_out,
    )


_ACTIONS: Final = {"load": load, "validate": validate}
_EVENTS: Final = {"load": "scene.loaded", "validate": "scene.validated"}
"""What webhooks may ask for; told of each scene that is whole."""


def run_all(ctx: Context, operations: Iterable[tuple[str, str]], count: int) -> Iterator[Outcome]:
    """Yield what comes of actions on scenes, first of those that an earlier run has done.

    Asked to stop, it leaves the rest to the next run.
    """
    done: list[Outcome] = msgspec.convert(ctx.checkpoint or [], list[Outcome])
    told = 0
    for position, (action, path) in enumerate(operations):
        if position == len(done):
            if ctx.should_stop():
                raise Stopped(msgspec.to_builtins(done))
            ctx.progress(position / count, path)
            try:
                outcome = _ACTIONS[action](project, path)
            except SceneFileError as error:
                outcome = Outcome(scene_path=path, success=False, error=str(error))
            room = FLAWS_TOLD_MAX - told
            outcome.flaws_left_out += max(0, len(outcome.flaws) - room)
            outcome.flaws = outcome.flaws[:room]
            done.append(outcome)
            if outcome.success:
                ctx.emit(_EVENTS[action], {"scene_path": path, "nodes": outcome.nodes})
        told += len(done[position].flaws)
        yield done[position]


# Handlers ---------------------------------------------------------------------------------------

ScenePath = Annotated[str, Meta(max_length=PATH_CHARS_MAX)]


class Operation(msgspec.Struct):
    action: Literal["load", "validate"]
    scene_path: ScenePath


class BatchOperations(msgspec.Struct):
    operations: Annotated[list[Operation], Meta(max_length=PATHS_MAX)]
    mode: Literal["continue", "stop"] = "continue"
    """What to do when a scene is broken."""


@worker.job("batch_operations", params=BatchOperations)
def batch_operations(ctx: Context, params: BatchOperations) -> dict[str, object]:
    """Load or validate scenes, one after the other."""
    asked = [(operation.action, operation.scene_path) for operation in params.operations]
    results: list[Outcome] = []
    for outcome in run_all(ctx, asked, len(asked)):
        outcome.action = asked[len(results)][0]
        results.append(outcome)
        if not outcome.success and params.mode == "stop":
            reason = outcome.error or ", ".join(flaw.text for flaw in outcome.flaws[:1])
            raise PermanentError(
                f"operation {len(results)} of {len(asked)} did not succeed: {reason}",
                code="operation_failed",
            )
    succeeded = sum(outcome.success for outcome in results)
    return {
        "total": len(asked),
        "message": f"{succeeded} of {len(asked)} operations succeeded",
        "succeeded": succeeded,
        "failed": len(asked) - succeeded,
        "results": results,
    }


class ScenePreload(msgspec.Struct):
    scene_paths: Annotated[list[ScenePath], Meta(max_length=PATHS_MAX)]


@worker.job("scene_preload", params=ScenePreload)
def scene_preload(ctx: Context, params: ScenePreload) -> dict[str, object]:
    """Load scenes, and what they are made of, into this worker's cache."""
    paths = params.scene_paths
    scenes = list(run_all(ctx, (("load", path) for path in paths), len(paths)))
    return {
        "scenes_loaded": sum(outcome.success for outcome in scenes),
        "total_scenes": len(paths),
        "scenes": scenes,
    }


class CacheWarming(msgspec.Struct):
    pass


@worker.job("cache_warming", params=CacheWarming)
def cache_warming(ctx: Context, _params: CacheWarming) -> dict[str, object]:
    """Load every scene of the project, as far as the cache has room."""
    warmed = broken = 0
    for path in project.scene_paths():
        if ctx.should_stop():
            raise Stopped
        if warmed + broken == WARMED_SCENES_MAX:
            break
        ctx.progress((warmed + broken) / WARMED_SCENES_MAX, f"{warmed + broken} scenes")
        try:
            whole = not project.scene(path).flaws
        except SceneFileError:
            whole = False
        warmed += whole
        broken += not whole
    return {
        "cache_warmed": True,
        "message": f"{warmed} scenes are ready, {broken} are broken",
        "scenes": warmed,
        "broken": broken,
    }
