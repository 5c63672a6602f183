"""The module written by hand is one that the server takes."""

import pytest

from headrace.cli.demo import module_that_prints
from headrace.wire.wasm import verify_module


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 127, 128, 2_000])
def test_the_module_is_valid_for_lines_of_any_length(length: int) -> None:
    info = verify_module(module_that_prints("x" * length))
    assert info.exports == {"memory": "memory", "_start": "function"}
    assert [name for _, name, _ in info.imports] == ["fd_write"]
