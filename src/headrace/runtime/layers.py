"""The effective configuration: defaults, file, environment, flags; the later is the stronger.

Each value keeps its source, so that `headrace config` and messages can name it.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from headrace.runtime.settings import Setting, hint, settings_of, shown_value

if TYPE_CHECKING:
    from headrace.runtime.yaml_file import Node

FILE_DEFAULT: Final = Path("headrace.yaml")
FILE_VARIABLE: Final = "HEADRACE_CONFIG"
SOURCE_DEFAULT: Final = "default"
_LINKS: Final = ("tcp://", "udp://", "sctp://")

Kind = TypeVar("Kind", bound=msgspec.Struct)


class ConfigError(Exception):
    """The configuration cannot be served; the message says what to change, a line each."""


class Given(NamedTuple):
    value: Any
    source: str
    """`default`, a file with its line, the name of a variable, or a flag."""


Layer = dict[tuple[str, ...], Given]
"""Values by their place in the file; the items of a mapping have places of their own."""


class Effective(NamedTuple, Generic[Kind]):
    config: Kind
    settings: list[Setting]
    given: Layer
    file: Path | None
    warnings: list[str]

    def of(self, setting: Setting) -> Layer:
        """Return the setting's value, or its items, by place."""
        depth = len(setting.path)
        return {path: given for path, given in self.given.items() if path[:depth] == setting.path}


def effective(
    kind: type[Kind],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Effective[Kind]:
    """Read a configuration.

    file: must be there; without it the environment may name one, or the usual one is read if it is
    there. flags: by the setting's key, as the command line has them. defaults: by key, in place of
    the Struct's. Problems of all layers are told together.

    Raises: ConfigError
    """
    environ = environ or {}
    settings = settings_of(kind)
    problems: list[str] = []
    warnings: list[str] = []
    given: Layer = {}
    for setting in settings:
        default = (defaults or {}).get(setting.key, setting.default)
        _put(given, setting, default, SOURCE_DEFAULT)
    if file is None:
        named = environ.get(FILE_VARIABLE)
        file = Path(named) if named else FILE_DEFAULT if FILE_DEFAULT.is_file() else None
    if file is not None:
        _read_file(settings, file, given, problems, warnings)
    for setting in settings:
        _read_variables(setting, environ, given, problems, warnings)
    for setting in settings:
        _read_flag(setting, (flags or {}).get(setting.key), given, problems)
    if problems:
        raise ConfigError("\n".join(problems))
    return Effective(_built(kind, settings, given), settings, given, file, warnings)


def _put(given: Layer, setting: Setting, value: Any, source: str) -> None:
    if not setting.is_mapping:
        given[setting.path] = Given(value, source)
        return
    for name, item in value.items():
        given[*setting.path, name] = Given(item, source)


def _built(kind: type[Kind], settings: list[Setting], given: Layer) -> Kind:
    tree: dict[str, Any] = {}
    for setting in settings:
        section = tree
        for field in setting.fields[:-1]:
            section = section.setdefault(field, {})
        value: Any = {}
        depth = len(setting.path)
        for path, item in given.items():
            if path == setting.path:
                value = item.value
            elif path[:depth] == setting.path:
                value[path[-1]] = item.value
        section[setting.fields[-1]] = value
    return _struct(kind, tree)


def _struct(kind: type[Kind], tree: dict[str, Any]) -> Kind:
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            tree[field.name] = _struct(field.type, tree[field.name])
    return kind(**tree)


# The file ---------------------------------------------------------------------------------------


def _read_file(
    settings: list[Setting],
    file: Path,
    given: Layer,
    problems: list[str],
    warnings: list[str],
) -> None:
    from headrace.runtime.yaml_file import YamlError, read_yaml  # who has no file need not wait

    try:
        tree, mode = read_yaml(file)
    except OSError as error:
        problems.append(f"{file}: it cannot be read: {error.strerror}")
        return
    except YamlError as error:
        problems.append(f"{file}:{error.line}: {error}" if error.line else f"{file}: {error}")
        return
    by_path = {setting.path: setting for setting in settings}
    secret = _read_section(by_path, (), tree, file, given, problems)
    if secret and mode & stat.S_IROTH:
        warnings.append(f"{file} holds {secret} and anybody may read it; chmod o-r {file}")


def _read_section(
    by_path: dict[tuple[str, ...], Setting],
    above: tuple[str, ...],
    tree: "dict[str, Node]",
    file: Path,
    given: Layer,
    problems: list[str],
) -> str:
    """Take what stands in a section. Returns the key of a secret, if there is one."""
    secret = ""
    depth = len(above)
    known = list(dict.fromkeys(path[depth] for path in by_path if path[:depth] == above))
    for name, node in tree.items():
        path = (*above, name)
        key, source = ".".join(path), f"{file}:{node.line}"
        if name not in known:
            problems.append(f"{source}: there is no setting {shown_value(key)}{hint(name, known)}")
        elif (setting := by_path.get(path)) is not None:
            _read_node(setting, node, file, given, problems)
            secret = key if setting.mark.secret else secret
        elif isinstance(node.value, dict):
            secret = _read_section(by_path, path, node.value, file, given, problems) or secret
        elif node.value is not None:
            below = next(other[depth + 1] for other in by_path if other[: depth + 1] == path)
            problems.append(f"{source}: {key} is a section, with lines such as `{below}: …` in it")
    return secret


def _read_node(
    setting: Setting, node: "Node", file: Path, given: Layer, problems: list[str]
) -> None:
    from headrace.runtime.yaml_file import plain

    items = {"": node}
    if setting.is_mapping:
        if node.value is None:
            return
        if not isinstance(node.value, dict):
            problems.append(f"{file}:{node.line}: {setting.key} is made of lines `name: value`")
            return
        items = node.value
    for name, item in items.items():
        path = (*setting.path, name) if setting.is_mapping else setting.path
        source = f"{file}:{item.line}"
        try:
            given[path] = Given(setting.read(plain(item)), source)
        except ValueError as error:
            what = "" if setting.mark.secret else f" {shown_value(plain(item))} will not do:"
            problems.append(f"{source}: {shown_key(path)}:{what} {error}")


def shown_key(path: tuple[str, ...]) -> str:
    return ".".join(name if name.isprintable() else ascii(name) for name in path)


# Environment and flags --------------------------------------------------------------------------


def _read_variables(
    setting: Setting,
    environ: Mapping[str, str],
    given: Layer,
    problems: list[str],
    warnings: list[str],
) -> None:
    """Take the strongest of the setting's variables. An empty one is as good as none."""
    for variable in reversed(setting.variables):
        text = environ.get(variable, "")
        if not text:
            continue
        if text.startswith(_LINKS):
            warnings.append(
                f"{variable} is ignored: it looks like what Kubernetes sets for a service named"
                " headrace (enableServiceLinks: false turns that off)"
            )
            continue
        _read_text(setting, text, variable, given, problems)


def _read_flag(setting: Setting, value: Any, given: Layer, problems: list[str]) -> None:
    if value is None or value == ():
        return
    if isinstance(value, bool):
        flag = setting.flag if value else "--no-" + setting.flag.removeprefix("--")
        given[setting.path] = Given(value, flag)
        return
    for text in value if isinstance(value, tuple) else (value,):
        _read_text(setting, text, setting.flag, given, problems)


def _read_text(setting: Setting, text: str, source: str, given: Layer, problems: list[str]) -> None:
    try:
        read = setting.read_pairs(text) if setting.is_mapping else setting.read_text(text)
    except ValueError as error:
        what = "" if setting.mark.secret else f" {shown_value(text)} will not do:"
        problems.append(f"{source}:{what} {error}")
        return
    _put(given, setting, read, source)
