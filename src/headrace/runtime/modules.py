"""Full validation of an uploaded module: the outline first, then every instruction by wasmtime.

Only validated, never compiled here: compiling is costly on hostile input and belongs into the
worker's sandbox process.
"""

import atexit
from functools import cache
from typing import TYPE_CHECKING

from headrace.wire.wasm import ENGINE_FEATURES, ModuleInfo, ModuleRefused, verify_module

if TYPE_CHECKING:
    import wasmtime

_DETAIL_CHARS_MAX = 500


def validate_bytes(data: bytes, entry_point: str = "_start") -> ModuleInfo:
    """Check that a sandbox will accept the module. Meant for a thread: wasmtime drops the GIL.

    Cost: about 10 ms per MiB.
    Raises: ModuleRefused.
    """
    info = verify_module(data, entry_point)
    import wasmtime  # 25 ms and 20 MB that a server without WASM jobs does not pay

    try:
        wasmtime.Module.validate(_engine(), data)
    except wasmtime.WasmtimeError as error:
        # The words are wasmtime's; names in them come from the file, so they are cut and cleaned.
        text = "".join(char if char.isprintable() else " " for char in str(error))
        raise ModuleRefused("module_malformed", text[:_DETAIL_CHARS_MAX]) from None
    return info


@cache
def _engine() -> "wasmtime.Engine":
    """The sandbox's feature switches. An engine may be shared between threads."""
    import wasmtime

    config = wasmtime.Config()
    for feature, enabled in ENGINE_FEATURES.items():
        setattr(config, feature, enabled)
    engine = wasmtime.Engine(config)
    # wasmtime's own modules are gone when the interpreter clears this cache: let it go before.
    atexit.register(_engine.cache_clear)
    return engine
