"""JSON Schemas of params: refused when they are hostile, compiled once, then quick.

Draft 2020-12. A schema comes from somebody who may be careless or worse, and params are checked on
the loop's thread, so before it is compiled a schema must be shown to be cheap:

- references stay inside the schema (`#`, `#/$defs/x`): nothing is ever fetched;
- patterns are for an engine without backtracking, and small when compiled;
- at no place of any params more than `PLACE_CHECKS_MAX` of its parts are looked at. Parts that
  refer to others twice, and those again, would be looked at 2ⁿ times; `_Places` walks all places
  that there can be, counting, until nothing new comes or the count is too high.
"""

from collections import Counter
from itertools import islice
from typing import Any, Final, NamedTuple

import jsonschema_rs
import msgspec

from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

PLACE_CHECKS_MAX: Final = 500
"""Parts of the schema that are looked at for one value inside the params."""
PLACES_MAX: Final = 2_000
"""Kinds of places; a place is what is looked at there."""
STEPS_MAX: Final = 100_000
"""Of the walk itself."""
DEPTH_MAX: Final = 48
PATTERNS_MAX: Final = 64
PATTERN_BYTES_MAX: Final = 256 * limits.KIB
"""Of one pattern when compiled."""
ERRORS_MAX: Final = 16
"""Told of one job."""
ERROR_CHARS_MAX: Final = 200

_DIALECTS: Final = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2020-12/schema#",
)
_REFUSED: Final = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$vocabulary")
_VALUES: Final = frozenset({"const", "enum", "default", "examples"})
"""What is below them is no schema."""
_PATTERNS: Final = jsonschema_rs.RegexOptions(
    size_limit=PATTERN_BYTES_MAX, dfa_size_limit=PATTERN_BYTES_MAX
)
_decode: Final = msgspec.json.Decoder().decode
_NO_PARAMS: Final[dict[str, Any]] = {}


class Wrong(NamedTuple):
    """One thing wrong with params."""

    pointer: str
    """Into the params."""
    reason: str


class ParamsSchema:
    """A schema, compiled."""

    def __init__(self, validator: jsonschema_rs.Draft202012Validator) -> None:
        self._validator = validator
        self._is_valid = validator.is_valid

    def accepts(self, params: bytes) -> bool:
        """Say whether params fit. Params that were not sent count as an empty object."""
        return self._is_valid(_decode(params) if params else _NO_PARAMS)

    def wrong(self, params: bytes) -> list[Wrong]:
        """Return what is wrong with params, some of it if it is much. No values are repeated."""
        value = _decode(params) if params else _NO_PARAMS
        return [
            Wrong(
                "".join(f"/{_escaped(str(part))}" for part in error.instance_path),
                _short(error.message),
            )
            for error in islice(self._validator.iter_errors(value), ERRORS_MAX)
        ]


def compile_schema(data: bytes) -> ParamsSchema:
    """Return what checks params. Raises: Problem, for a schema that is wrong or too costly."""
    try:
        schema = _decode(data)
    except (ValueError, RecursionError):  # the decoder of the body has only found where it ends
        raise _refused(
            "a number is out of range, a text is no Unicode, or it is too deep"
        ) from None
    if not isinstance(schema, dict | bool):
        raise _refused("a schema is an object, true or false")
    _check_parts(schema)
    _Places(schema).walk()
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema, offline=True, pattern_options=_PATTERNS, mask="it"
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        where = "".join(f"/{_escaped(str(part))}" for part in getattr(error, "instance_path", ()))
        reason = _short(str(getattr(error, "message", "")) or "it is no JSON Schema")
        if '"regex"' in reason:
            reason = "a pattern is wrong, too large, or looks back or ahead, which takes too long"
        raise _refused(reason, where) from None
    return ParamsSchema(validator)


def _refused(detail: str, pointer: str = "") -> Problem:
    return Problem(ProblemCode.SCHEMA_REFUSED, detail, pointer=f"/params_schema{_short(pointer)}")


def _short(text: str) -> str:
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= ERROR_CHARS_MAX else text[: ERROR_CHARS_MAX - 1] + "…"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


# What a schema may hold -------------------------------------------------------------------------


def _check_parts(root: Any) -> None:
    patterns = 0
    level, depth = [("", root)], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise _refused(f"it is nested deeper than {DEPTH_MAX}")
        below: list[tuple[str, Any]] = []
        for pointer, part in level:
            if isinstance(part, list):
                below += [(f"{pointer}/{at}", item) for at, item in enumerate(part)]
            if not isinstance(part, dict):
                continue
            if any(name in part for name in _REFUSED) or (pointer and "$id" in part):
                raise _refused(
                    f"$id below the top and {', '.join(_REFUSED)} are not supported;"
                    " use $ref with #/$defs/…",
                    pointer,
                )
            dialect = part.get("$schema", _DIALECTS[0])
            if dialect not in _DIALECTS:
                raise _refused("it is read as draft 2020-12; leave $schema out", pointer)
            reference = part.get("$ref", "#")
            if not isinstance(reference, str) or not (
                reference == "#" or reference.startswith("#/")
            ):
                raise _refused("a reference stays inside the schema: #/$defs/…", pointer)
            patterns += "pattern" in part
            if isinstance(part.get("patternProperties"), dict):
                patterns += len(part["patternProperties"])
            below += [
                (f"{pointer}/{_escaped(name)}", inner)
                for name, inner in part.items()
                if name not in _VALUES
            ]
        level = below
    if patterns > PATTERNS_MAX:
        raise _refused(f"at most {PATTERNS_MAX} patterns")


# How much is looked at --------------------------------------------------------------------------

_OTHER: Final = "\0"
"""Stands for a name of no property, and for an item behind all the prefixes."""
_Place = Counter[int]
"""The parts that are looked at for one value, by `id`, and how often each."""


class _Places:
    """All the places that params can have, and what is looked at there."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._parts: dict[int, Any] = {}
        self._steps = 0

    def walk(self) -> None:
        """Raises: Problem, if anything is looked at too often."""
        seen: set[frozenset[tuple[int, int]]] = set()
        waiting: list[_Place] = [Counter()]
        self._look(self._root, 1, waiting[0])
        while waiting:
            for place in self._below(waiting.pop()):
                known = frozenset(place.items())
                if place and known not in seen:
                    seen.add(known)
                    waiting.append(place)
            if len(seen) > PLACES_MAX:
                raise _refused("it has too many parts that refer to one another")

    def _look(self, part: Any, times: int, place: _Place) -> None:
        """Add a part, and all that is looked at for the same value because of it."""
        if not isinstance(part, dict):
            return
        self._steps += 1
        place[id(part)] += times
        self._parts[id(part)] = part
        if place.total() > PLACE_CHECKS_MAX or self._steps > STEPS_MAX:
            raise _refused(
                "its parts refer to one another so often that a check could take for ever"
            )
        if "$ref" in part:
            self._look(self._resolve(part["$ref"]), times, place)
        for name in ("allOf", "anyOf", "oneOf"):
            for inner in _items(part.get(name)):
                self._look(inner, times, place)
        for name in ("if", "then", "else", "not"):
            self._look(part.get(name), times, place)
        for inner in _members(part.get("dependentSchemas")).values():
            self._look(inner, times, place)

    def _below(self, place: _Place) -> list[_Place]:
        """Return the places one level down: an item, a property, the name of a property."""
        parts = [(self._parts[known], times) for known, times in place.items()]
        names = {_OTHER, *(name for part, _ in parts for name in _members(part.get("properties")))}
        found = [self._property(name, parts) for name in names]
        longest = max((len(_items(part.get("prefixItems"))) for part, _ in parts), default=0)
        self._steps += (len(names) + longest) * len(parts)
        found += [self._item(at, parts) for at in range(longest + 1)]
        keys: _Place = Counter()
        for part, times in parts:
            self._look(part.get("propertyNames"), times, keys)
        return [*found, keys]

    def _property(self, name: str, parts: list[tuple[Any, int]]) -> _Place:
        place: _Place = Counter()
        for part, times in parts:
            properties = _members(part.get("properties"))
            if name in properties:
                self._look(properties[name], times, place)
            else:
                self._look(part.get("additionalProperties"), times, place)
            self._look(part.get("unevaluatedProperties"), times, place)
            for inner in _members(part.get("patternProperties")).values():
                self._look(inner, times, place)
        return place

    def _item(self, at: int, parts: list[tuple[Any, int]]) -> _Place:
        place: _Place = Counter()
        for part, times in parts:
            prefix = _items(part.get("prefixItems"))
            self._look(prefix[at] if at < len(prefix) else part.get("items"), times, place)
            for name in ("contains", "unevaluatedItems"):
                self._look(part.get(name), times, place)
        return place

    def _resolve(self, reference: str) -> Any:
        part = self._root
        for name in reference[2:].split("/") if len(reference) > 1 else ():
            name = name.replace("~1", "/").replace("~0", "~")
            if isinstance(part, dict) and name in part:
                part = part[name]
            elif isinstance(part, list) and name.isdecimal() and int(name) < len(part):
                part = part[int(name)]
            else:
                raise _refused("a reference leads nowhere")
        return part


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
