"""Godot's text scenes (`.tscn`): read, and told what is broken in them, line by line.

    file      section*
    section   "[" tag (key "=" value)* "]" (key "=" value)*
    value     number | text | true | false | null | [...] | {...} | Name(...) | Name[...]([...])

Nothing of a scene is run. What a value is worth is not kept, only which resources it names.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

SCENE_BYTES_MAX: Final = 16 << 20
"""Scenes of real projects stay below 1 MiB; those with baked-in data come to some."""
SECTIONS_MAX: Final = 100_000
DEPTH_MAX: Final = 64
"""Nesting of a value."""
PROBLEMS_MAX: Final = 100
"""Told of one scene; a file that is no scene at all has one a line."""
TEXT_SHOWN_MAX: Final = 60
FORMATS: Final = frozenset({2, 3, 4})
"""Of Godot 3, 4.0 and 4.3."""


class Flaw(msgspec.Struct, frozen=True):
    """Something that is broken."""

    line: int
    text: str


class ExtResource(msgspec.Struct, frozen=True):
    """Another file that the scene needs."""

    id: str
    type: str
    path: str
    line: int


class SubResource(msgspec.Struct, frozen=True):
    """A resource inside of the scene."""

    id: str
    type: str
    line: int


class Node(msgspec.Struct, frozen=True):
    path: str
    """From the root, which is `.`."""
    type: str
    """Empty for a node that an instanced scene brings."""
    line: int
    instance: str = ""
    """Id of the scene that it is an instance of."""


class Connection(msgspec.Struct, frozen=True):
    signal: str
    source: str
    target: str
    method: str
    line: int


class Scene(msgspec.Struct):
    """What a file says. With flaws it is as much as could be read."""

    format: int = 0
    uid: str = ""
    ext_resources: dict[str, ExtResource] = {}
    sub_resources: dict[str, SubResource] = {}
    nodes: dict[str, Node] = {}
    """By path, parents first."""
    connections: list[Connection] = []
    flaws: list[Flaw] = []
    flaws_left_out: int = 0

    def flaw(self, line: int, text: str) -> None:
        if len(self.flaws) < PROBLEMS_MAX:
            self.flaws.append(Flaw(line, text))
        else:
            self.flaws_left_out += 1


class SceneError(Exception):
    """It cannot be read on from here."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line
        self.text = text


def read_scene(data: bytes) -> Scene:
    """Read a scene, and note all that is broken in it. Cost: O(n)."""
    scene = Scene()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        scene.flaw(data.count(b"\n", 0, error.start) + 1, "it is not UTF-8 text")
        return scene
    sections = _Sections(text, scene)
    reader = _Reader(scene)
    for section in sections:
        reader.take(section)
    reader.end(sections.here())
    return scene


# Text to sections -------------------------------------------------------------------------------


class _Reference(NamedTuple):
    """`ExtResource("1_a")` or `SubResource("2")`, somewhere in a value."""

    kind: str
    id: str
    line: int


class _Section(NamedTuple):
    tag: str
    line: int
    fields: dict[str, str]
    """Of the header: plain text of texts and numbers, "" for the rest."""
    references: list[_Reference]
    instance: str


_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\n]+|;[^\n]*)"
    r'|(?P<text>[&^@]?"(?:[^"\\]++|\\.)*+")'
    r"|(?P<number>[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?"
    r"|[+-]?(?:inf|nan|inf_neg)\b|#[0-9a-fA-F]++)"
    r"|(?P<word>[A-Za-z_][\w/:.@%\-]*)"
    r"|(?P<sign>[\[\](){}=,:])",
    re.DOTALL,
)
_KEY: Final = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"|[^\s="\[\];][^\s="]*+)[ \t]*+=', re.DOTALL)
_CLOSES: Final = {"[": "]", "(": ")", "{": "}"}
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_REFERENCES: Final = frozenset({"ExtResource", "SubResource"})


class _Sections:
    """Parts the text. What it cannot read it notes, and goes on with the next section."""

    def __init__(self, text: str, scene: Scene) -> None:
        self._text = text
        self._scene = scene
        self._at = 0
        self._counted_at = 0
        self._line = 1

    def __iter__(self) -> Iterator[_Section]:
        count = 0
        while self._skip():
            count += 1
            if count > SECTIONS_MAX:
                self._scene.flaw(self.here(), f"it has more than {SECTIONS_MAX} sections")
                return
            try:
                yield self._section()
            except SceneError as error:
                self._give_up(error)

    def _section(self) -> _Section:
        line = self.here()
        if self._text[self._at] != "[":
            raise SceneError(line, f"a section is expected here, not {self._shown()}")
        self._at += 1
        self._skip()
        tag = self._take("word", "the name of a section")
        fields: dict[str, str] = {}
        references: list[_Reference] = []
        instance = ""
        while not self._sign("]"):
            key = self._take("word", "a field of the section, or its ]")
            if not self._sign("="):
                raise SceneError(self.here(), f"{short(key)} has no = and no value")
            named = len(references)
            fields[key] = self._value(references)
            if key == "instance" and len(references) == named + 1:
                instance = references[-1].id
        try:
            while (key_found := self._next_key()) is not None:
                self._at = key_found.end()
                self._value(references)
        except SceneError as error:  # the header is whole, and others may name this section
            self._give_up(error)
        return _Section(tag, line, fields, references, instance)

    def _next_key(self) -> re.Match[str] | None:
        """Find a property; None at a section or the end. Raises: SceneError."""
        if not self._skip() or self._text[self._at] == "[":
            return None
        found = _KEY.match(self._text, self._at)
        if found is None:
            raise SceneError(self.here(), f"a property has no = after its name: {self._shown()}")
        return found

    def _value(self, references: list[_Reference]) -> str:
        """Pass a value. Returns its text, if it is one, or a number. Raises: SceneError."""
        open_signs: list[str] = []
        plain = ""
        first = True
        callee = ""
        while True:
            self._skip()
            began = self._at
            found = self._token()
            kind, text = found.lastgroup, found[0]
            self._at = found.end()
            if first and kind in ("text", "number"):
                plain = _unescaped(text) if kind == "text" else text
            if kind == "sign":
                if text in _CLOSES:
                    if len(open_signs) == DEPTH_MAX:
                        raise SceneError(self.here(), f"a value nests deeper than {DEPTH_MAX}")
                    open_signs.append(text)
                elif open_signs and text == _CLOSES[open_signs[-1]]:
                    open_signs.pop()
                elif not open_signs or text in "])}=":
                    self._at = began
                    raise SceneError(self.here(), f"{text} has nothing to do here")
            elif kind == "text" and callee in _REFERENCES:
                references.append(_Reference(callee, _unescaped(text), self.here()))
            elif kind == "number" and callee in _REFERENCES:
                references.append(_Reference(callee, text, self.here()))
            if kind == "word":
                callee = text
            elif text != "(":
                callee = ""
            first = False
            if not open_signs and not self._goes_on(kind, text):
                return plain

    def _goes_on(self, kind: str | None, text: str) -> bool:
        """Say whether the value has another part: `Name` its `(`, `Array` its `[`, `]` its `(`."""
        following = self._text[self._at : self._at + 1]
        return (kind == "word" and following in ("(", "[")) or (text == "]" and following == "(")

    def _token(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            line = self.here()
            if self._at >= len(self._text):
                raise SceneError(line, "the file ends in the middle of a section")
            if self._text[self._at : self._at + 2].lstrip("&^@").startswith('"'):
                raise SceneError(line, "a text begins here and does not end")
            raise SceneError(line, f"{self._shown()} is no value")
        return found

    def _take(self, kind: str, wanted: str) -> str:
        self._skip()
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup != kind:
            raise SceneError(self.here(), f"{wanted} is expected here, not {self._shown()}")
        self._at = found.end()
        return found[0]

    def _sign(self, sign: str) -> bool:
        self._skip()
        if self._text[self._at : self._at + 1] != sign:
            return False
        self._at += 1
        return True

    def _skip(self) -> bool:
        """Go to what is neither space nor comment. Returns False at the end."""
        while (found := _TOKEN.match(self._text, self._at)) and found.lastgroup == "space":
            self._at = found.end()
        return self._at < len(self._text)

    def _give_up(self, error: SceneError) -> None:
        """Note what is broken, and go to the next section."""
        self._scene.flaw(error.line, error.text)
        found = self._text.find("\n[", self._at)
        self._at = len(self._text) if found < 0 else found + 1

    def here(self) -> int:
        """Return the line."""
        self._line += self._text.count("\n", self._counted_at, self._at)
        self._counted_at = max(self._counted_at, self._at)
        return self._line

    def _shown(self) -> str:
        return short(self._text[self._at : self._at + TEXT_SHOWN_MAX + 1].partition("\n")[0])


def _unescaped(text: str) -> str:
    inner = text.lstrip("&^@")[1:-1]
    if "\\" not in inner:
        return inner
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), inner)


def short(text: str) -> str:
    """Show a text of the file: on one line, and never long."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    if len(shown) > TEXT_SHOWN_MAX:
        shown = shown[:TEXT_SHOWN_MAX] + "…"
    return repr(shown) if shown else "the end"


# Sections to a scene ----------------------------------------------------------------------------


class _Reader:
    """Takes sections in their order: header, what the scene needs, nodes, connections."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._begun = False
        self._instanced: set[str] = set()
        """Paths of nodes whose children are known to another file."""

    def take(self, section: _Section) -> None:
        scene, line = self._scene, section.line
        if not self._begun:
            self._begun = True
            if section.tag == "gd_scene":
                self._header(section)
                return
            scene.flaw(line, f"it begins with [{_bare(section.tag)}], not with [gd_scene]")
        kind = _KINDS.get(section.tag)
        if kind is None:
            again = "again " if section.tag == "gd_scene" else ""
            scene.flaw(line, f"[{_bare(section.tag)}] {again}is no section of a scene")
            return
        self._check_references(section)
        kind(self, section)

    def end(self, line: int) -> None:
        if not self._begun and not self._scene.flaws:
            self._scene.flaw(line, "it is empty")
        elif self._begun and not self._scene.nodes:
            self._scene.flaw(line, "it has no node")

    def _header(self, section: _Section) -> None:
        text = section.fields.get("format", "")
        self._scene.uid = section.fields.get("uid", "")
        if text.isascii() and text.isdigit() and len(text) < 4:
            self._scene.format = int(text)
        if self._scene.format not in FORMATS:
            known = ", ".join(map(str, sorted(FORMATS)))
            self._scene.flaw(section.line, f"its format is {short(text)}; known are {known}")

    def _check_references(self, section: _Section) -> None:
        for reference in section.references:
            external = reference.kind == "ExtResource"
            known = self._scene.ext_resources if external else self._scene.sub_resources
            if reference.id not in known:
                what = f"{reference.kind}({short(reference.id)})"
                self._scene.flaw(reference.line, f"{what} is used and not declared before")

    def _needed(self, section: _Section, *names: str) -> list[str] | None:
        """Return fields of a header; None, and a flaw, if one is not there or empty."""
        values = [section.fields.get(name, "") for name in names]
        for name, value in zip(names, values, strict=True):
            if not value:
                self._scene.flaw(section.line, f"[{section.tag}] has no {name}")
                return None
        return values

    def _ext_resource(self, section: _Section) -> None:
        if (values := self._needed(section, "id", "type", "path")) is None:
            return
        name, kind, path = values
        if name in self._scene.ext_resources:
            self._scene.flaw(section.line, f"there is another ext_resource {short(name)}")
            return
        self._scene.ext_resources[name] = ExtResource(name, kind, path, section.line)

    def _sub_resource(self, section: _Section) -> None:
        if (values := self._needed(section, "id", "type")) is None:
            return
        name, kind = values
        if name in self._scene.sub_resources:
            self._scene.flaw(section.line, f"there is another sub_resource {short(name)}")
            return
        self._scene.sub_resources[name] = SubResource(name, kind, section.line)

    def _node(self, section: _Section) -> None:
        if (values := self._needed(section, "name")) is None:
            return
        scene, fields, line, name = self._scene, section.fields, section.line, values[0]
        parent = fields.get("parent")
        if parent is None:
            if scene.nodes:
                scene.flaw(line, f"{short(name)} has no parent, and the scene has its root")
                return
            path = "."
        else:
            if not scene.nodes:
                scene.flaw(line, f"the first node, {short(name)}, has a parent")
                return
            path = name if parent == "." else f"{parent}/{name}"
            if parent not in scene.nodes and not self._is_instanced(parent):
                scene.flaw(line, f"{short(name)} has a parent that is not there: {short(parent)}")
                return
        if path in scene.nodes:
            scene.flaw(line, f"there is another node {short(path)}")
            return
        kind = fields.get("type", "")
        if "instance" in fields or "instance_placeholder" in fields:
            self._instanced.add(path)
        elif not kind and not self._is_instanced(path):
            scene.flaw(line, f"{short(name)} has neither a type nor an instance")
        scene.nodes[path] = Node(path, kind, line, section.instance)

    def _is_instanced(self, path: str) -> bool:
        """Say whether a node may come from another scene: it, or one above it, is an instance."""
        if "." in self._instanced:
            return True
        while path:
            if path in self._instanced:
                return True
            path = path.rpartition("/")[0]
        return False

    def _connection(self, section: _Section) -> None:
        values = self._needed(section, "signal", "from", "to", "method")
        if values is None:
            return
        signal, source, target, method = values
        self._scene.connections.append(Connection(signal, source, target, method, section.line))
        for end in (source, target):
            if end not in self._scene.nodes and not self._is_instanced(end):
                self._scene.flaw(section.line, f"it connects {short(end)}, which is not there")

    def _editable(self, section: _Section) -> None:
        values = self._needed(section, "path")
        if values is not None and not self._is_instanced(values[0]):
            self._scene.flaw(section.line, f"{short(values[0])} is editable and no instance")


def _bare(tag: str) -> str:
    return short(tag)[1:-1]


_KINDS: Final = {
    "ext_resource": _Reader._ext_resource,
    "sub_resource": _Reader._sub_resource,
    "node": _Reader._node,
    "connection": _Reader._connection,
    "editable": _Reader._editable,
}
