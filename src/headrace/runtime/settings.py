"""What makes a field of a Struct a setting: its help, its names, and how people write its value.

    lease_ms: Annotated[Duration, Mark("A worker silent for this long is taken for dead.")] = 30_000

is all it takes: the file then knows `lease: 30s`, the environment `HEADRACE_LEASE`, the command
line `--lease`, and `headrace config` shows it. A field that is a Struct is a section of settings.
"""

import difflib
import math
from collections.abc import Callable, Iterator
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec

from headrace.wire.durations import duration_ms, duration_text
from headrace.wire.limits import MIB
from headrace.wire.sizes import size_bytes, size_text

PREFIX: Final = "HEADRACE_"
_VALUE_CHARS_MAX: Final = 60
NOTHING: Final = ("never", "null")
"""Texts for the lack of an amount, where there may be none."""
_SUFFIXES: Final = ("_ms", "_s", "_mb", "_dir")


class Mark(NamedTuple):
    """What there is to say of a setting beside its type and default."""

    help: str
    name: str = ""
    """For flag and environment, where that of its place is too long."""
    variables: tuple[str, ...] = ()
    """Further names in the environment; weaker than its own."""
    secret: bool = False
    """Never shown."""


class Unit(Enum):
    """How a number is written as text."""

    MS = auto()
    S = auto()
    MB = auto()
    BYTES = auto()


# Not negative; a field's own `Meta` may say more.
Duration = Annotated[int, Unit.MS]
Seconds = Annotated[float, Unit.S]
Megabytes = Annotated[int, Unit.MB]
Bytes = Annotated[int, Unit.BYTES]


def key_of(field: str) -> str:
    """Name a field in the file, where values carry their unit; for `Struct(rename=…)`."""
    for suffix in _SUFFIXES:
        field = field.removesuffix(suffix)
    return field


class Setting:
    """One setting."""

    def __init__(
        self, path: tuple[str, ...], fields: tuple[str, ...], kind: Any, default: Any
    ) -> None:
        marks = list(_marks(kind))
        mark = next((mark for mark in marks if isinstance(mark, Mark)), None)
        assert mark is not None, f"{'.'.join(path)} has no help"
        self.path = path
        self.fields = fields
        self.default = default
        self.mark: Mark = mark
        self.bare = _bare(kind)
        self.is_mapping = get_origin(self.bare) is dict
        """Of names to values, each from where it was set."""
        self.is_list = get_origin(self.bare) in (list, tuple)
        self.is_flag = self.bare is bool
        self.kind = get_args(self.bare)[1] if self.is_mapping else kind
        self.unit = next((mark for mark in _marks(self.kind) if isinstance(mark, Unit)), None)
        self.is_optional = self.unit is not None and type(None) in get_args(self.bare)
        name = mark.name or "_".join(path)
        self.flag = "--" + name.replace("_", "-")
        self.variables = (PREFIX + name.upper(), *mark.variables)

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def word(self) -> str:
        """What stands for the value in the help of the command line."""
        if self.is_mapping:
            return "NAME=VALUE"
        if self.unit is not None:
            return "SIZE" if self.unit in (Unit.MB, Unit.BYTES) else "DURATION"
        return "|".join(self.words) or _WORDS.get(_core(self.kind), "TEXT")

    @property
    def words(self) -> tuple[str, ...]:
        """The values there are, where they can be listed."""
        return get_args(self.bare) if get_origin(self.bare) is Literal else ()

    def read(self, value: Any, *, strict: bool = True) -> Any:
        """Return a value, or that of one item, from the file; not strict: from a text.

        Raises: ValueError
        """
        if self.unit is not None and value is not None:
            if self.is_optional and isinstance(value, str) and value.strip().lower() in NOTHING:
                return None
            value = _READ[self.unit](value)
        try:
            return msgspec.convert(value, self.kind, strict=strict, dec_hook=_convert_other)
        except msgspec.ValidationError as error:
            raise ValueError(self._reason(str(error))) from None

    def read_text(self, text: str) -> Any:
        """Return a value, or that of one item, from the environment or the command line."""
        if self.is_list:
            words = [word.strip() for word in text.split(",") if word.strip()]
            return self.read(words, strict=False)
        if not self.is_mapping or text.strip().lower() not in ("", "null"):
            return self.read(text, strict=False)
        return self.read(None)

    def read_pairs(self, text: str) -> dict[str, Any]:
        """Return the items of a mapping, written `NAME=VALUE` with blanks or commas between."""
        found = {}
        for word in text.replace(",", " ").split():
            name, separator, value = word.partition("=")
            if not separator or not name:
                raise ValueError(f"it takes NAME=VALUE, not {shown_value(word)}")
            try:
                found[name] = self.read_text(value)
            except ValueError as error:
                raise ValueError(f"{shown_value(word)}: {error}") from None
        return found

    def check(self, value: Any) -> None:
        """Say whether a value that was never text is within its bounds. Raises: ValueError."""
        for item in value.values() if self.is_mapping else [value]:
            try:
                msgspec.convert(item, self.kind, dec_hook=_convert_other)
                if self.unit is not None and item is not None and item < 0:
                    raise msgspec.ValidationError
            except msgspec.ValidationError as error:
                raise ValueError(self._reason(str(error))) from None

    def show(self, value: Any) -> Any:
        """Return a value as it is written in the file; a secret is not."""
        if value is None:
            return None
        if self.mark.secret:
            return "(hidden)"
        if self.unit is not None:
            return _SHOW[self.unit](value)
        return str(value) if isinstance(value, Path) else value

    def _reason(self, text: str) -> str:
        """Say what is accepted, where the type says it better than the decoder."""
        if self.words:
            return f"it is one of {', '.join(self.words)}"
        noun = "" if self.unit is not None else _NOUNS.get(_core(self.kind), "")
        if self.unit is None and not noun:
            return text[0].lower() + text[1:].replace("`", "")
        least, most = _bounds(self.kind)
        least = 0 if least is None and self.unit is not None else least
        show = _SHOW[self.unit] if self.unit is not None else str
        bounds = [f"at least {show(least)}"] if least is not None else []
        bounds += [f"at most {show(most)}"] if most is not None else []
        return (
            f"it must be {', '.join([noun] * bool(noun) + [' and '.join(bounds)] * bool(bounds))}"
        )


def settings_of(kind: type[msgspec.Struct]) -> list[Setting]:
    """Return the settings of a Struct and its sections, in order."""
    found = list(_settings(kind, (), ()))
    for name in ("flag", "variables"):
        assert len({getattr(setting, name) for setting in found}) == len(found), name
    return found


def _settings(
    kind: type[msgspec.Struct], path: tuple[str, ...], fields: tuple[str, ...]
) -> Iterator[Setting]:
    for field in msgspec.structs.fields(kind):
        here, names = (*path, field.encode_name), (*fields, field.name)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _settings(field.type, here, names)
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        assert default is not msgspec.NODEFAULT, f"{'.'.join(here)} has no default"
        yield Setting(here, names, field.type, default)


def shown_value(value: Any) -> str:
    """Return a value for a message: short, and on one line whatever is in it."""
    text = ascii(value)
    return text if len(text) <= _VALUE_CHARS_MAX else text[: _VALUE_CHARS_MAX - 1] + "…"


def hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


_READ: Final[dict[Unit, Callable[[Any], Any]]] = {
    Unit.MS: lambda value: duration_ms(_number_or_text(value)),
    Unit.S: lambda value: duration_ms(_number_or_text(value)) / 1000,
    Unit.MB: lambda value: math.ceil(size_bytes(_number_or_text(value)) / MIB),
    Unit.BYTES: lambda value: size_bytes(_number_or_text(value)),
}
_SHOW: Final[dict[Unit, Callable[[Any], Any]]] = {
    Unit.MS: duration_text,
    Unit.S: lambda value: duration_text(round(value * 1000)),
    Unit.MB: lambda value: size_text(value * MIB),
    Unit.BYTES: size_text,
}

_NOUNS: Final = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}

_WORDS: Final = {int: "N", float: "N", Path: "PATH"}


def _number_or_text(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("it is a text, such as 30s or 512MiB")
    return value


def _convert_other(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, Path):
        return value
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("expected a path")


def _marks(kind: Any) -> Iterator[Any]:
    """Give what is annotated to a type, also inside of `… | None`."""
    if get_origin(kind) is Annotated:
        yield from kind.__metadata__
        yield from _marks(kind.__origin__)
    elif get_origin(kind) is not Literal:
        for inner in get_args(kind):
            yield from _marks(inner)


def _bare(kind: Any) -> Any:
    return kind.__origin__ if get_origin(kind) is Annotated else kind


def _core(kind: Any) -> Any:
    """Return the type itself, without annotations and without `| None`."""
    inner = [arg for arg in get_args(kind) if arg is not type(None)]
    if get_origin(kind) is Annotated or (inner and len(inner) < len(get_args(kind))):
        return _core(inner[0])
    return kind


def _bounds(kind: Any) -> tuple[Any, Any]:
    metas = [mark for mark in _marks(kind) if isinstance(mark, msgspec.Meta)]
    least = max((meta.ge for meta in metas if meta.ge is not None), default=None)
    most = min((meta.le for meta in metas if meta.le is not None), default=None)
    return least, most
