"""Change the pure core one place at a time: which changes does no test notice?

    tools/mutation --quick
    tools/mutation core/retry wire/keys

A copy of the package and of its tests lies in build/mutation/tree, where mutmut has its own. Each
change is tried against the tests that reach its function; `mutmut show NAME` there shows one. Exits
1 if a module is below the bound.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "mutation" / "tree"
LOG = TREE.with_name("mutmut.log")
NOTICED_MIN = 0.85
QUICK = ("core/retry",)
LAYERS = ("core", "wire")
NOTICED = {"killed", "timeout", "segfault"}
CONFIG = """
[tool.mutmut]
source_paths = ["src/"]
also_copy = ["src/headrace"]
only_mutate = [{modules}]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = [{tests}]
use_git_change_detection = false
track_dependencies = false
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="as core/retry; none: all")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    modules = arguments.modules or list(QUICK if arguments.quick else _all())
    _lay_out(modules)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(arguments.processes)]
    with LOG.open("w") as log:
        code = subprocess.run(command, cwd=TREE, check=False, stdout=log, stderr=log).returncode
    below = [module for module in modules if not _tell(module)]
    if below:
        print(f"below {NOTICED_MIN:.0%}: {', '.join(below)}")
    if code:
        print(f"mutmut ended with {code}; what it said is in {LOG}")
    return 1 if code or below else 0


def _all() -> list[str]:
    source = ROOT / "src" / "headrace"
    files = sorted(file for layer in LAYERS for file in (source / layer).glob("*.py"))
    return [str(file.relative_to(source).with_suffix("")) for file in files]


def _lay_out(modules: list[str]) -> None:
    """Copy what the tests of the pure layers need; what mutmut knows of earlier runs goes."""
    shutil.rmtree(TREE, ignore_errors=True)
    unread = shutil.ignore_patterns("__pycache__", "*.c", "*.html")
    shutil.copytree(ROOT / "src" / "headrace", TREE / "src" / "headrace", ignore=unread)
    for part in (*LAYERS, "scripts"):
        shutil.copytree(ROOT / "tests" / part, TREE / "tests" / part, ignore=unread)
    shutil.copy(ROOT / "tests" / "conftest.py", TREE / "tests")
    own, _, rest = (ROOT / "pyproject.toml").read_text().partition("[tool.pytest.ini_options]")
    assert own, "the tests are configured there"
    of_pytest = "[tool.pytest.ini_options]" + rest.partition("\n[tool.")[0]
    layers = sorted({module.partition("/")[0] for module in modules})
    config = CONFIG.format(
        modules=", ".join(f'"src/headrace/{module}.py"' for module in modules),
        tests=", ".join(f'"tests/{layer}"' for layer in layers),
    )
    (TREE / "pyproject.toml").write_text(of_pytest + config)


def _tell(module: str) -> bool:
    """Print what became of a module's changes. Returns whether enough were noticed."""
    meta = TREE / "mutants" / "src" / "headrace" / f"{module}.py.meta"
    if not meta.exists():
        print(f"{module:<28} nothing to change")
        return True
    codes = json.loads(meta.read_text())["exit_code_by_key"]
    statuses = {name: status_by_exit_code[code] for name, code in codes.items()}
    counts = Counter(statuses.values())
    tried = len(codes)
    noticed = sum(counts[status] for status in NOTICED)
    share = noticed / tried if tried else 1.0
    rest = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    print(f"{module:<28} {share:>6.1%} of {tried}: {rest}")
    for name, status in statuses.items():
        if status not in NOTICED:
            print(f"    {status:<12} {name}")
    return share >= NOTICED_MIN


if __name__ == "__main__":
    sys.exit(main())
