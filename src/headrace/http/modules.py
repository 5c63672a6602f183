"""Checks of WASM modules at the door: what they are, and that the entry point is theirs.

What was learnt of a module is kept by its key, so that ten thousand jobs on one module read it
once. Each tenant's is checked for itself: how long it takes tells nothing of others. The work
itself runs in a thread.
"""

import asyncio
import base64
import binascii
import re
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from headrace.core.intake import ENTRY_POINT_DEFAULT
from headrace.runtime.modules import validate_bytes
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.wasm import ModuleInfo, ModuleRefused, inspect_module

if TYPE_CHECKING:
    from headrace.store import Store

KNOWN_MAX: Final = 256
"""Outlines kept; one is a few KB."""
THREADS_MAX: Final = 2
"""Checks at once; more would take the processors from the requests that need none."""
_BASE64_CHARS_MAX: Final = (limits.MODULE_BYTES_MAX + 2) // 3 * 4
_SHA256: Final = re.compile("[0-9a-f]{64}")


class ModuleChecks:
    """Remembers the outlines of verified modules, the latest used of them."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._known: OrderedDict[bytes, ModuleInfo] = OrderedDict()
        self._free = asyncio.Semaphore(THREADS_MAX)

    async def new(self, key: bytes, data: bytes) -> ModuleInfo:
        """Check a module that was sent. Raises: Problem, without a pointer."""
        known = self.recall(key)
        if known is None:
            async with self._free:
                known = await asyncio.to_thread(_validated, data)
            self._remember(key, known)
        return known

    async def stored(self, key: bytes) -> ModuleInfo | None:
        """Return the outline of a module in the store, None if it is not there."""
        known = self.recall(key)
        if not self._store.has_module(key):
            return None
        if known is None:
            async with self._free:
                known = await asyncio.to_thread(self._outline, key)
            if known is not None:
                self._remember(key, known)
        return known

    def _outline(self, key: bytes) -> ModuleInfo | None:
        data = self._store.module(key)
        return None if data is None else inspect_module(data)

    def recall(self, key: bytes) -> ModuleInfo | None:
        """Return what is remembered, whether or not the store has the module."""
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
        return known

    def _remember(self, key: bytes, info: ModuleInfo) -> None:
        self._known[key] = info
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def _validated(data: bytes) -> ModuleInfo:
    """Validate a module whatever it exports; a job names its entry point."""
    try:
        outline = inspect_module(data)
        entry = next(
            (name for name, (params, _) in outline.function_exports.items() if not params), None
        )
        return validate_bytes(data, entry or ENTRY_POINT_DEFAULT)
    except ModuleRefused as refused:
        raise refusal(refused) from None


def refusal(refused: ModuleRefused, pointer: str | None = None) -> Problem:
    return Problem(ProblemCode[refused.code.upper()], refused.detail, pointer=pointer)


def check_entry_point(info: ModuleInfo, entry_point: str, pointer: str) -> None:
    """Raises: Problem MODULE_ENTRY_POINT_MISSING."""
    kind = info.exports.get(entry_point)
    detail = ""
    if kind is None:
        detail = "the module does not export it"
    elif kind != "function":
        detail = f"the module exports it as a {kind}, not a function"
    elif info.function_exports[entry_point][0]:
        detail = "the function takes parameters; an entry point takes none"
    if detail:
        raise Problem(ProblemCode.MODULE_ENTRY_POINT_MISSING, detail, pointer=pointer)


def entry_points(info: ModuleInfo) -> frozenset[str]:
    """Return the names that pass `check_entry_point`."""
    return frozenset(name for name, (params, _) in info.function_exports.items() if not params)


def decoded(text: str) -> bytes:
    """Return the bytes of an inline module. Raises: Problem, without a pointer."""
    if len(text) > _BASE64_CHARS_MAX:
        raise Problem(ProblemCode.MODULE_TOO_LARGE, f"{limits.MODULE_BYTES_MAX} bytes are allowed")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Problem(ProblemCode.FIELD_INVALID, "it is not base64") from None
    if not data:
        raise Problem(ProblemCode.FIELD_INVALID, "it is empty")
    return data


def digest_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def is_sha256(text: str) -> bool:
    return _SHA256.fullmatch(text) is not None
