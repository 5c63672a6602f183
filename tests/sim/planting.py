"""Where the mutants are kept, and how one is planted."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from unittest import mock

from headrace.store import layout
from headrace.store._new_rows import NewRows
from sim.run import Mutant, Result

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


Loses = Callable[[Any, int, bytes, bytes | None], bool]
"""Whether a row of an effect is not written: by the effect, the table, the key and the value."""


def lossy(stack: ExitStack, effect: type, loses: Loses) -> None:
    """Let a kind of effect be written without some of its rows."""

    def written(rows: NewRows, told: Any) -> None:
        whole = NewRows()
        old(whole, told)
        for table in whole.tables():
            for key, value in whole.items(table):
                if not loses(told, table, key, value):
                    rows.set(table, key, value)

    old = translate(stack, effect, written)


def found(result: Result) -> bool:
    """Whether a planted defect was found. One that fails by itself proves nothing, and raises."""
    if result.violation is None:
        return False
    files = re.findall(r'File "(.+?)"', result.violation.detail)
    if files and Path(files[-1]).name.startswith("mutants"):
        raise RuntimeError(f"the mutant fails by itself: {result.violation.detail}")
    return True
