"""House rules that no linter knows; each finding names its file and what to do.

python tools/tidy.py
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES_MAX = 700
TOP_LEVEL = {
    *("pyproject.toml", "setup.py", "README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.in"),
    *("src", "ext", "bench", "tests", "tools", ".ci", ".gitignore"),
}
WRITTEN = {Path("tests/faults/recorder.c")}
"""C that nobody generated."""
BANNED = {
    r"\byaml\.load\b": "use msgspec.yaml or yaml.safe_load",
    r"\bpickle\b": "use msgspec",
    r"(?<![.\w])eval\(": "there is always another way",
    r"\bNotImplementedError\b": "leave the feature out",
    r"\b(TODO|FIXME|XXX)\b": "do it, or write an issue",
}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def findings(paths: list[Path]) -> list[str]:
    found = [
        f"{path}: only the fixed layout stands at the top level"
        for path in paths
        if path.parts[0] not in TOP_LEVEL
    ]
    for path in paths:
        if path.suffix in {".c", ".so", ".whl", ".pyc"} and path not in WRITTEN:
            found.append(f"{path}: generated files stay out of the tree")
        if path.suffix not in {".py", ".pyx", ".pxd", ".pyi"}:
            continue
        text = (ROOT / path).read_text()
        lines = text.count("\n")
        if lines > LINES_MAX:
            found.append(f"{path}: {lines} lines; a second idea gets its own file")
        described = re.match(r'\s*(#[^\n]*\n)*[rR]?"""', text) is not None
        if text.strip() and path.parts[0] in {"src", "ext"} and not described:
            found.append(f"{path}: opens with a sentence on its purpose")
        if path != Path("tools/tidy.py"):
            for pattern, instead in BANNED.items():
                for match in re.finditer(pattern, text):
                    line = text.count("\n", 0, match.start()) + 1
                    found.append(f"{path}:{line}: {match[0]} is banned: {instead}")
    names = {path.as_posix() for path in paths}
    seen: dict[str, Path] = {}
    for path in paths:
        if path.match("tests/**/test_*.py") and f"{path.parent}/__init__.py" not in names:
            other = seen.setdefault(path.name, path)
            if other != path:
                found.append(f"{path}: pytest cannot collect it beside {other}; rename one")
    for name in sorted(names):
        source = re.fullmatch(r"src/headrace/(core|wire|store|runtime)/(\w+)\.py", name)
        if source and source[2] != "__init__":
            test = f"tests/{source[1]}/test_{source[2]}.py"
            if test not in names and source[2] not in EXEMPT:
                found.append(f"{name}: no {test}")
    return found


EXEMPT = {
    *("commands", "effects", "resources", "stats"),  # values, without behaviour of their own
    *("limits", "problems", "route", "document_routes"),  # tables, with their assertions inside
    *("contract",),  # a protocol; its suite is tests/store
}


def main() -> int:
    found = findings(tracked())
    for line in found:
        print(line)
    print(f"tidy: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
