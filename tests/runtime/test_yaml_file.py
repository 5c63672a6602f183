"""What of YAML is understood, and that nothing in a file can surprise."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.yaml_file import FILE_BYTES_MAX, YamlError, parse_yaml, plain, read_yaml


def values(text: str) -> dict[str, Any]:
    return {name: plain(node) for name, node in parse_yaml(text.encode()).items()}


def test_each_value_knows_its_line() -> None:
    tree = parse_yaml(b"# first\nport: 1\n\nqueues:\n  a: 1\n  b:\n    2\n")
    assert (tree["port"].line, tree["queues"].line) == (2, 4)
    assert [node.line for node in tree["queues"].value.values()] == [5, 6]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ("1.0e3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("30s", "30s"),
        ("'5'", "5"),
        ('"null"', "null"),
        ("[a, 1, null]", ["a", 1, None]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        # What YAML 1.1 has traps for:
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2030-01-31", "2030-01-31"),
        (".inf", ".inf"),
        ("=", "="),
    ],
)
def test_only_plain_words_and_decimal_numbers_are_not_text(written: str, value: object) -> None:
    found = values(f"x: {written}\n")["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_a_file_may_say_nothing(text: str) -> None:
    assert values(text) == {}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\na: 2\n", 2, "a second time; see line 1"),
        ("a: &x {b: 1}\nc: *x\n", 2, "anchors and aliases"),
        ("a: 1\nb: !!python/object/apply:os.system [x]\n", 2, "tags"),
        ("a: !!int x\n", 1, "tags"),
        ("a: !own x\n", 1, "tags"),
        ("- 1\n", 1, "lines such as"),
        ("just words\n", 1, "lines such as"),
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a:\n\t- 1\n", 2, "not YAML"),
        ("? [a]\n: 1\n", 1, "one word"),
        ("a: 1\n--- \nb: 2\n", 2, "not YAML"),
        ("a: 1\nb: \x07\n", 2, "control character"),
        ("[" * 5_000, 0, "nested too deeply"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(YamlError, match=reason) as caught:
        parse_yaml(text.encode())
    assert caught.value.line == line


def test_bytes_that_are_not_utf8_are_named_with_their_line() -> None:
    with pytest.raises(YamlError, match="UTF-8") as caught:
        parse_yaml(b"a: 1\nb: \xff\n")
    assert caught.value.line == 2


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(YamlError, match="longer than"):
        read_yaml(path)


@given(st.one_of(st.binary(max_size=64), st.text("ab:-[]{}&*!|>'\"#? \n\t1.", max_size=40)))
def test_any_bytes_are_a_mapping_or_a_named_error(data: bytes | str) -> None:
    with contextlib.suppress(YamlError):
        parse_yaml(data.encode() if isinstance(data, str) else data)
