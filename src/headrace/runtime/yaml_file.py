"""A YAML file, read so that each value knows its line, and nothing in it can surprise.

PyYAML does the parsing; its safe constructor is not even used, since the tree of nodes has the
lines and its scalars. Only what a configuration needs is understood: no tags, no anchors, no
duplicate keys, and of the unquoted words only `null`, `true`, `false` and decimal numbers are not
text (YAML 1.1 would read `no`, `010` and `1:30` as something else).
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

FILE_BYTES_MAX: Final = 256 << 10
_TAG: Final = "tag:yaml.org,2002:"


class YamlError(ValueError):
    """The text cannot be taken; `line` says where, 0 if nowhere."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Node(NamedTuple):
    value: Any
    """A scalar, a list of scalars, or a dict of nodes."""
    line: int


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it


_PATTERNS: Final = {
    # what an unquoted word is: (its pattern, its first characters)
    "bool": (re.compile(r"(?:true|false)\Z"), ["t", "f"]),
    "null": (re.compile(r"(?:null|~|)\Z"), ["n", "~", ""]),
    "int": (re.compile(r"[-+]?[0-9]{1,18}\Z"), [*"-+0123456789"]),
    "float": (
        re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}(?:[eE][-+]?[0-9]{1,2})?\Z"),
        [*"-+0123456789"],
    ),
}
_VALUES: Final[dict[str, Callable[[str], Any]]] = {
    "bool": lambda text: text == "true",
    "null": lambda _text: None,
    "int": int,
    "float": float,
}
_add_resolver: Any = _Loader.add_implicit_resolver
for _kind, (_pattern, _firsts) in _PATTERNS.items():
    _add_resolver(_TAG + _kind, _pattern, _firsts)


def read_yaml(path: Path) -> tuple[dict[str, Node], int]:
    """Return the file's mapping, and its mode.

    Raises: OSError, YamlError
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise YamlError(f"it is longer than {FILE_BYTES_MAX >> 10} KiB")
    return parse_yaml(data), mode


def parse_yaml(data: bytes) -> dict[str, Node]:
    """Raises: YamlError"""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError("it is not UTF-8 text", line) from None
    try:
        root = _Loader(text).get_single_node()
        if root is None:
            return {}
        tree = _node(root, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(f"it is not YAML: {error.problem}", mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError("it is not YAML: a control character", line) from None
    except RecursionError:
        raise YamlError("it is nested too deeply") from None
    if not isinstance(tree.value, dict):
        if tree.value is None:
            return {}
        raise YamlError("it is made of lines such as `port: 8080`", tree.line)
    return tree.value


def plain(node: Node) -> Any:
    """Return the values without their lines."""
    if isinstance(node.value, dict):
        return {name: plain(item) for name, item in node.value.items()}
    return node.value


def _node(node: yaml.Node, taken: set[int], line: int = 0) -> Node:
    """`line`: of the name before it, if there is one."""
    line = line or node.start_mark.line + 1
    if id(node) in taken:
        raise YamlError("anchors and aliases are not used here; write the value again", line)
    taken.add(id(node))
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        found: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a name is one word", line)
            if key.value in found:
                first = found[key.value].line
                here = key.start_mark.line + 1
                raise YamlError(f"{key.value!r} is set a second time; see line {first}", here)
            found[key.value] = _node(value, taken, key.start_mark.line + 1)
        return Node(found, line)
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return Node([plain(_node(item, taken)) for item in node.value], line)
    if isinstance(node, yaml.ScalarNode):
        return Node(_scalar(node, line), line)
    raise YamlError("tags are not used here", line)


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    kind = node.tag.removeprefix(_TAG)
    if kind == "str":
        return node.value
    if kind in _PATTERNS and _PATTERNS[kind][0].match(node.value):
        return _VALUES[kind](node.value)
    raise YamlError("tags are not used here", line)
