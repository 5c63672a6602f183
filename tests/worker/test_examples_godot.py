"""The handlers over a Godot project: what they tell, and that they stay inside of it."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.wire.schema import Spec
from headrace.worker import Context, PermanentError, Stopped, WorkerDefinitionError
from headrace.worker.attempt import Assignment, completed
from headrace.worker.examples import godot
from headrace.worker.examples.godot import (
    PATHS_MAX,
    BatchOperations,
    CacheWarming,
    Operation,
    Project,
    SceneFileError,
    ScenePreload,
    batch_operations,
    cache_warming,
    scene_preload,
    worker,
)
from headrace.worker.handlers import Feed, load_worker

HALL = """\
[gd_scene load_steps=3 format=3]
[ext_resource type="PackedScene" path="res://parts/door.tscn" id="1"]
[ext_resource type="Script" path="res://hall.gd" id="2"]
[node name="Hall" type="Node3D"]
script = ExtResource("2")
[node name="Door" parent="." instance=ExtResource("1")]
"""
DOOR = '[gd_scene format=3]\n[node name="Door" type="Node3D"]\n'
BROKEN = DOOR + '[node name="Knob" type="Node3D" parent="Plate"]\n'


class Silent(Feed):
    def __init__(self) -> None:
        self.fractions: list[float | None] = []
        self.events: list[str] = []

    def progress(self, fraction: float | None, details: str | None) -> None:
        self.fractions.append(fraction)

    def log(self, text: str) -> None: ...

    def checkpoint(self, value: bytes) -> None: ...

    def emit(self, name: str, data: bytes) -> None:
        self.events.append(name)


def context(checkpoint: Any = None) -> Context:
    raw = msgspec.Raw(b"" if checkpoint is None else msgspec.json.encode(checkpoint))
    assignment = Assignment(lease="l", spec=Spec(id="j", name="n"), attempt=1, checkpoint=raw)
    return Context(assignment, Silent())


def told(value: Any) -> Any:
    """Return what a client sees of a result."""
    return msgspec.json.decode(completed(value).result)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    root = tmp_path / "game"
    (root / "parts").mkdir(parents=True)
    (root / ".godot").mkdir()
    (root / "hall.tscn").write_text(HALL)
    (root / "hall.gd").write_text("extends Node3D\n")
    (root / "parts" / "door.tscn").write_text(DOOR)
    (root / "broken.tscn").write_text(BROKEN)
    (root / ".godot" / "kept.tscn").write_text(DOOR)
    (tmp_path / "outside.tscn").write_text(DOOR)
    project = Project(root)
    monkeypatch.setattr(godot, "project", project)
    return project


def batch(*pairs: tuple[str, str], mode: Any = "continue") -> BatchOperations:
    return BatchOperations([Operation(*pair) for pair in pairs], mode)  # type: ignore[arg-type]


# What they do -----------------------------------------------------------------------------------


def test_scenes_are_loaded_with_what_they_are_made_of(place: Project) -> None:
    found = told(scene_preload(context(), ScenePreload(["res://hall.tscn", "res://gone.tscn"])))
    assert found == {
        "scenes_loaded": 1,
        "total_scenes": 2,
        "scenes": [
            {"scene_path": "res://hall.tscn", "success": True, "nodes": 2, "scenes": 1},
            {
                "scene_path": "res://gone.tscn",
                "success": False,
                "error": "there is no such file in the project",
            },
        ],
    }
    assert [path.name for path in place._kept] == ["hall.tscn", "door.tscn"]


def test_operations_load_and_validate_and_tell_each(place: Project) -> None:
    (place.root / "hall.gd").unlink()
    asked = batch(
        ("load", "res://hall.tscn"), ("validate", "res://hall.tscn"), ("load", "res://broken.tscn")
    )
    found = told(batch_operations(context(), asked))
    assert (found["total"], found["succeeded"], found["failed"]) == (3, 1, 2)
    assert found["message"] == "1 of 3 operations succeeded"
    load, validate, broken = found["results"]
    assert (load["action"], load["success"]) == ("load", True)
    assert (validate["action"], validate["success"]) == ("validate", False)
    assert validate["flaws"] == [{"line": 3, "text": "the file of ext_resource '2' is not there"}]
    assert broken["flaws"] == [
        {"line": 3, "text": "'Knob' has a parent that is not there: 'Plate'"}
    ]


def test_a_batch_may_stop_at_the_first_broken_scene(place: Project) -> None:
    asked = batch(("load", "res://broken.tscn"), ("load", "res://hall.tscn"), mode="stop")
    with pytest.raises(PermanentError, match="operation 1 of 2 did not succeed: 'Knob'") as raised:
        batch_operations(context(), asked)
    assert raised.value.code == "operation_failed"
    with pytest.raises(PermanentError, match="no such file"):
        batch_operations(context(), batch(("load", "res://x.tscn"), mode="stop"))


def test_the_cache_is_warmed_with_every_scene_that_is_not_hidden(place: Project) -> None:
    found = told(cache_warming(context(), CacheWarming()))
    assert (found["cache_warmed"], found["scenes"], found["broken"]) == (True, 2, 1)
    assert {path.name for path in place._kept} == {"hall.tscn", "door.tscn", "broken.tscn"}


def test_a_scene_is_read_again_when_its_file_changes(place: Project) -> None:
    before = place.scene("res://parts/door.tscn")
    assert place.scene("res://parts/door.tscn") is before
    (place.root / "parts" / "door.tscn").write_text(BROKEN)
    assert place.scene("res://parts/door.tscn").flaws


def test_a_flaw_below_is_told_where_the_scene_names_it(place: Project) -> None:
    (place.root / "parts" / "door.tscn").write_text(
        DOOR + '[ext_resource type="PackedScene" path="res://none.tscn" id="1"]\n'
    )
    (outcome,) = told(scene_preload(context(), ScenePreload(["res://hall.tscn"])))["scenes"]
    assert outcome["flaws"][0]["line"] == 2
    assert "is not loaded: there is no such file" in outcome["flaws"][0]["text"]


def test_scenes_that_contain_one_another_end(place: Project) -> None:
    (place.root / "parts" / "door.tscn").write_text(
        DOOR + '[ext_resource type="PackedScene" path="res://hall.tscn" id="1"]\n'
    )
    (outcome,) = told(scene_preload(context(), ScenePreload(["res://hall.tscn"])))["scenes"]
    assert (outcome["success"], outcome["scenes"]) == (True, 1)


def test_a_run_that_is_stopped_goes_on_where_it_was(place: Project) -> None:
    first = context()
    paths = ["res://hall.tscn", "res://gone.tscn", "res://broken.tscn"]
    done = scene_preload(context(), ScenePreload(paths[:2]))["scenes"]
    first.ask_stop("suspend")  # type: ignore[arg-type]
    with pytest.raises(Stopped) as stopped:
        scene_preload(first, ScenePreload(paths))
    assert stopped.value.checkpoint == []
    (place.root / "hall.tscn").unlink()
    later = scene_preload(context(msgspec.to_builtins(done)), ScenePreload(paths))
    assert [outcome["success"] for outcome in told(later)["scenes"]] == [True, False, False]


def test_the_result_of_the_longest_batch_of_the_worst_scenes_has_room(place: Project) -> None:
    (place.root / "broken.tscn").write_text(DOOR + "[bad]\n" * 200)
    result = scene_preload(context(), ScenePreload(["res://broken.tscn"] * PATHS_MAX))
    assert completed(result).outcome == "completed"
    last = told(result)["scenes"][-1]
    assert "flaws" not in last
    assert last["flaws_left_out"] == 200


# Where they stay --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "hall.tscn",
        "user://hall.tscn",
        "/etc/passwd",
        "res://../outside.tscn",
        "res://parts/../../outside.tscn",
        "res:///../outside.tscn",
        "res://link.tscn",
        "res://folder/outside.tscn",
        "res://loop.tscn",
        "res://pipe.tscn",
        "res://folder.tscn",
        "res://hall.gd",
        "res://a\0.tscn",
        "res://" + "x" * 400 + ".tscn",
        "res://" + "x/" * 200 + ".tscn",
        "",
    ],
)
def test_no_path_leads_out_of_the_project_or_to_what_is_no_scene(place: Project, path: str) -> None:
    (place.root / "link.tscn").symlink_to("../outside.tscn")
    (place.root / "folder").symlink_to("..")
    (place.root / "loop.tscn").symlink_to("loop.tscn")
    (place.root / "folder.tscn").mkdir()
    os.mkfifo(place.root / "pipe.tscn")
    with pytest.raises(SceneFileError):
        place.scene(path)
    outcome = told(scene_preload(context(), ScenePreload([path])))
    assert outcome["scenes_loaded"] == 0
    assert "outside" not in outcome["scenes"][0]["error"]


def test_what_is_outside_is_told_as_what_is_nowhere(place: Project) -> None:
    outcomes = told(
        scene_preload(context(), ScenePreload(["res://../outside.tscn", "res://../none.tscn"]))
    )
    assert len({outcome["error"] for outcome in outcomes["scenes"]}) == 1


def test_links_inside_of_the_project_are_followed(place: Project) -> None:
    (place.root / "same.tscn").symlink_to("hall.tscn")
    assert place.scene("res://parts/../same.tscn").flaws == []


def test_a_scene_that_is_too_large_is_not_read(
    place: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(godot, "SCENE_BYTES_MAX", 10)
    with pytest.raises(SceneFileError, match="larger"):
        place.scene("res://hall.tscn")


def test_the_cache_has_a_bound(place: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(godot, "CACHE_BYTES_MAX", len(HALL) + 10)
    for path in ("res://parts/door.tscn", "res://hall.tscn"):
        place.scene(path)
    assert [path.name for path in place._kept] == ["hall.tscn"]
    assert place._kept_bytes == len(HALL)


# As a worker ------------------------------------------------------------------------------------


def test_the_worker_serves_the_three_types() -> None:
    assert load_worker("headrace.worker.examples.godot:worker") is worker
    assert sorted(worker.handlers) == ["batch_operations", "cache_warming", "scene_preload"]


def test_a_project_that_is_no_directory_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADRACE_GODOT_PROJECT", str(tmp_path / "none"))
    with pytest.raises(WorkerDefinitionError, match="HEADRACE_GODOT_PROJECT names no directory"):
        godot._project()
    monkeypatch.setenv("HEADRACE_GODOT_PROJECT", str(tmp_path))
    assert godot._project().root == tmp_path.resolve()


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("batch_operations", b'{"operations": [{"action": "delete", "scene_path": "res://a"}]}'),
        ("batch_operations", b'{"operations": [], "mode": "perhaps"}'),
        ("batch_operations", b"{}"),
        ("scene_preload", b'{"scene_paths": "res://a.tscn"}'),
        ("scene_preload", b'{"scene_paths": [' + b'"a",' * PATHS_MAX + b'"a"]}'),
    ],
)
def test_wrong_params_fail_the_job_for_good(name: str, params: bytes) -> None:
    spec = Spec(id="j", name="n", params=msgspec.Raw(params))
    with pytest.raises(PermanentError) as raised:
        worker.handlers[name].arguments(Assignment(lease="l", spec=spec, attempt=1))
    assert raised.value.code == "params_invalid"


def test_no_params_are_enough_to_warm_the_cache() -> None:
    spec = Spec(id="j", name="n")
    arguments = worker.handlers["cache_warming"].arguments(
        Assignment(lease="l", spec=spec, attempt=1)
    )
    assert arguments == (CacheWarming(),)
