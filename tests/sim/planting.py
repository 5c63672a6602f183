"""Where the mutants are kept, and how one is planted."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from unittest import mock

from headrace.store import layout
from sim.run import Mutant

MUTANTS: Final[dict[str, Mutant]] = {}


def planted(mutant: Mutant) -> Mutant:
    MUTANTS[mutant.__name__] = mutant
    return mutant


def put(stack: ExitStack, target: Any, name: str, new: Any) -> Any:
    """Replace an attribute; return what it was."""
    old = getattr(target, name)
    stack.enter_context(mock.patch.object(target, name, new))
    return old


def translate(stack: ExitStack, effect: type, new: Callable[[Any, Any], None]) -> Any:
    old = layout.TRANSLATIONS[effect]
    stack.enter_context(mock.patch.dict(layout.TRANSLATIONS, {effect: new}))
    return old
