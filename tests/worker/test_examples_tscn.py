"""Scenes as Godot writes them are read whole; what is broken is told with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.worker.examples.tscn import (
    DEPTH_MAX,
    PROBLEMS_MAX,
    Connection,
    ExtResource,
    Flaw,
    Node,
    Scene,
    SubResource,
    read_scene,
)

DOOR = """\
[gd_scene load_steps=4 format=3 uid="uid://c4f8door"]

[ext_resource type="Script" path="res://door.gd" id="1_abcde"]
[ext_resource type="PackedScene" uid="uid://handle" path="res://parts/handle.tscn" id="2_fghij"]

[sub_resource type="BoxShape3D" id="BoxShape3D_1"]
size = Vector3(1, 2.1, 0.05)

[sub_resource type="Animation" id="Animation_open"]
resource_name = "open"
tracks/0/path = NodePath("Hinge:rotation")
tracks/0/keys = {
"times": PackedFloat32Array(0, 0.5),
"transitions": PackedFloat32Array(1, -1.5e-3),
"values": [Vector3(0, 0, 0), Vector3(0, 1.5708, 0)]
}

[node name="Door" type="Node3D" groups=["doors", "usable"]]
script = ExtResource("1_abcde")
metadata/notes = "a text with \\"quotes\\",
[two lines] and = signs"
names = Array[StringName]([&"left", &"right"])
limit = inf

[node name="Hinge" type="Node3D" parent="."]
transform = Transform3D(1, 0, 0, 0, 1, 0, 0, 0, 1, -0.5, 0, 0)

[node name="Handle" parent="Hinge" instance=ExtResource("2_fghij")]
; a comment
visible = false

[node name="Grip" parent="Hinge/Handle" index="0"]

[node name="Area" type="Area3D" parent="Hinge"]

[node name="Shape" type="CollisionShape3D" parent="Hinge/Area"]
shape = SubResource("BoxShape3D_1")

[connection signal="body_entered" from="Hinge/Area" to="." method="_on_area_body_entered"]

[editable path="Hinge/Handle"]
"""
OF_GODOT_3 = """\
[gd_scene load_steps=2 format=2]

[ext_resource path="res://a.png" type="Texture" id=1]

[node name="Root" type="Node2D"]
position = Vector2( 1, 2 )

[node name="Sprite" type="Sprite" parent="."]
texture = ExtResource( 1 )
modulate = Color( 1, 1, 1, 0.5 )
"""
HEADER = "[gd_scene format=3]\n"
ROOT = HEADER + '[node name="R" type="Node"]\n'


def flaws(text: str) -> list[tuple[int, str]]:
    return [(flaw.line, flaw.text) for flaw in read_scene(text.encode()).flaws]


def test_a_scene_is_read_whole() -> None:
    scene = read_scene(DOOR.encode())
    assert scene.flaws == []
    assert (scene.format, scene.uid) == (3, "uid://c4f8door")
    assert list(scene.ext_resources.values()) == [
        ExtResource("1_abcde", "Script", "res://door.gd", 3),
        ExtResource("2_fghij", "PackedScene", "res://parts/handle.tscn", 4),
    ]
    assert list(scene.sub_resources.values()) == [
        SubResource("BoxShape3D_1", "BoxShape3D", 6),
        SubResource("Animation_open", "Animation", 9),
    ]
    assert list(scene.nodes.values()) == [
        Node(".", "Node3D", 18),
        Node("Hinge", "Node3D", 25),
        Node("Hinge/Handle", "", 28, "2_fghij"),
        Node("Hinge/Handle/Grip", "", 32),
        Node("Hinge/Area", "Area3D", 34),
        Node("Hinge/Area/Shape", "CollisionShape3D", 36),
    ]
    assert scene.connections == [
        Connection("body_entered", "Hinge/Area", ".", "_on_area_body_entered", 39)
    ]


@pytest.mark.parametrize("text", [OF_GODOT_3, "\ufeff" + DOOR, DOOR.replace("\n", "\r\n")])
def test_scenes_of_other_times_and_systems_are_read(text: str) -> None:
    scene = read_scene(text.encode())
    assert scene.flaws == []
    assert scene.ext_resources
    assert "." in scene.nodes


def test_a_scene_that_inherits_may_name_what_only_its_base_knows() -> None:
    text = (
        HEADER
        + '[ext_resource type="PackedScene" path="res://base.tscn" id="1"]\n'
        + '[node name="R" instance=ExtResource("1")]\n[node name="A" parent="B/C" index="1"]\n'
        + '[connection signal="s" from="B" to="D" method="m"]\n'
    )
    assert flaws(text) == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "it is empty"),
        ("; nothing\n\n", 3, "it is empty"),
        (HEADER, 2, "it has no node"),
        ("hello\n", 1, "a section is expected"),
        ('[node name="R" type="Node"]\n', 1, "it begins with [node]"),
        ('[gd_resource format=3]\n[node name="R" type="N"]\n', 1, "not with [gd_scene]"),
        ('[gd_scene format=9]\n[node name="R" type="N"]\n', 1, "its format is '9'"),
        ('[gd_scene]\n[node name="R" type="N"]\n', 1, "its format is the end"),
        (ROOT + "[gd_scene format=3]\n", 3, "[gd_scene] again"),
        (ROOT + "[resource]\n", 3, "no section of a scene"),
        (ROOT + '[node name="A"]\n', 3, "has no parent"),
        (ROOT + '[node name="A" parent="."]\n', 3, "neither a type nor an instance"),
        (ROOT + '[node type="A" parent="."]\n', 3, "[node] has no name"),
        (ROOT + '[node name="A" type="N" parent="X"]\n', 3, "parent that is not there: 'X'"),
        (ROOT + '[node name="A" type="N" parent="."]\n' * 2, 4, "there is another node 'A'"),
        (HEADER + '[node name="A" type="N" parent="."]\n', 2, "the first node, 'A', has a parent"),
        (ROOT + 'x = ExtResource("7")\n', 3, "ExtResource('7') is used and not declared"),
        (ROOT + 'x = [1, {"a": SubResource("s")}]\n', 3, "SubResource('s') is used"),
        (ROOT + '[connection signal="s" from="X" to="." method="m"]\n', 3, "connects 'X'"),
        (ROOT + '[connection signal="s" from="." to="."]\n', 3, "[connection] has no method"),
        (ROOT + '[editable path="X"]\n', 3, "'X' is editable and no instance"),
        (ROOT + "x = [1, 2\n[node]\n", 5, "ends in the middle"),
        (ROOT + 'x = "no end\n', 3, "a text begins here and does not end"),
        (ROOT + "x = )\n", 3, ") has nothing to do here"),
        (ROOT + "x = [1, 2)\n", 3, ") has nothing to do here"),
        (ROOT + "x = \\\n", 3, "is no value"),
        (ROOT + "x 1\n", 3, "a property has no ="),
        (ROOT + "[node name]\n", 3, "'name' has no ="),
        (ROOT + "[]\n", 3, "the name of a section is expected"),
        (ROOT + "x = " + "[" * (DEPTH_MAX + 1) + "\n", 3, "nests deeper"),
    ],
)
def test_what_is_broken_is_told_with_its_line(text: str, line: int, said: str) -> None:
    found = flaws(text)
    assert any(at == line and said in words for at, words in found), found


@pytest.mark.parametrize("kind", ["ext_resource", "sub_resource"])
def test_two_resources_of_one_id_are_one_too_many(kind: str) -> None:
    text = HEADER + f'[{kind} type="T" path="res://x" id="1"]\n' * 2 + ROOT.removeprefix(HEADER)
    assert flaws(text) == [(3, f"there is another {kind} '1'")]


def test_a_broken_property_costs_neither_its_section_nor_the_next() -> None:
    text = ROOT + 'x = )\ny = 1\n\n[node name="A" type="N" parent="."]\nz = }\n'
    scene = read_scene(text.encode())
    assert [flaw.line for flaw in scene.flaws] == [3, 7]
    assert list(scene.nodes) == [".", "A"]


def test_a_broken_header_costs_its_section_alone() -> None:
    text = ROOT + '[node name=) parent="."]\n[node name="B" type="N" parent="."]\n'
    scene = read_scene(text.encode())
    assert [flaw.line for flaw in scene.flaws] == [3]
    assert list(scene.nodes) == [".", "B"]


def test_what_is_no_text_is_told_where_it_is_not() -> None:
    assert read_scene(b"[gd_scene format=3]\n\n\xff\n").flaws == [Flaw(3, "it is not UTF-8 text")]


def test_the_number_of_flaws_told_is_bounded() -> None:
    scene = read_scene((ROOT + "[bad]\n" * (PROBLEMS_MAX + 5)).encode())
    assert (len(scene.flaws), scene.flaws_left_out) == (PROBLEMS_MAX, 5)


def test_what_a_flaw_shows_of_the_file_is_short_and_on_one_line() -> None:
    name = "a\x1b" * 999
    (flaw,) = read_scene((ROOT + f'[node name="{name}" type="N"]\n').encode()).flaws
    assert len(flaw.text) < 120
    assert flaw.text.isprintable()


@given(st.text(max_size=200) | st.text('[]{}()="\\ \nan1;,:&', max_size=200))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    for begin in ("", ROOT, ROOT + "x = "):
        assert isinstance(read_scene((begin + text).encode("utf-8", "surrogatepass")), Scene)


@given(st.integers(0, len(DOOR)), st.integers(0, len(DOOR)), st.text(max_size=3))
def test_no_damage_to_a_scene_makes_the_reader_fail(start: int, end: int, put: str) -> None:
    damaged = DOOR[:start] + put + DOOR[end:]
    scene = read_scene(damaged.encode("utf-8", "surrogatepass"))
    assert all(0 < flaw.line <= damaged.count("\n") + 1 for flaw in scene.flaws)


@pytest.mark.parametrize(
    "part",
    ['"\\', "[", '[a b="', "x = ", "\\", "&", '[node name="a" parent="' + "a/" * 50, "{", "\n["],
)
def test_long_files_of_odd_parts_take_no_long_time(part: str) -> None:
    size = 1 << 20
    read_scene((ROOT + part * (size // len(part))).encode())
