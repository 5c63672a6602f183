"""What the packages that programs import load, and that they have what they say."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import headrace


def test_importing_the_package_and_the_client_library_loads_nothing_else() -> None:
    # What a program pays that may submit something, and mostly does not. Isolated, and without
    # `site`, so that what the environment loads at its start hides nothing.
    source = str(Path(headrace.__file__).parent.parent)
    code = (
        f"import sys; sys.path.append({source!r}); before = set(sys.modules)\n"
        "import headrace, headrace.sdk; print(*sorted(set(sys.modules) - before))"
    )
    output = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ["headrace", "headrace.sdk"]


@pytest.mark.parametrize("package", ["headrace", "headrace.sdk", "headrace.worker"])
def test_all_that_a_package_says_it_has_is_found_on_demand(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    with pytest.raises(AttributeError, match="'nonsense'"):
        module.nonsense  # noqa: B018 - looked up
