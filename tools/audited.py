"""Reads what pip-audit wrote: what is known against which part, and what could not be asked.

python tools/audited.py REPORT MESSAGES     exit code: 0 clean, 1 known holes, 3 not all were asked
"""

import json
import sys
from pathlib import Path

CLEAN, HOLES, UNASKED = 0, 1, 3


def audited(report: str, messages: str) -> tuple[int, list[str]]:
    """Return the exit code, and lines for people."""
    try:
        parts = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (messages.strip().splitlines() or ["it said nothing"])[-1]
        return UNASKED, ["NOT AUDITED: the advisory service could not be asked.", last]
    unasked = [part for part in parts if "skip_reason" in part]
    lines = [
        f"{part['name']} {part['version']}: {hole['id']}"
        f" (fixed in {', '.join(hole.get('fix_versions', ())) or 'no version'})"
        for part in parts
        for hole in part.get("vulns", ())
    ]
    holes = len(lines)
    asked = len(parts) - len(unasked)
    lines.append(f"{asked} of {len(parts)} parts were looked up; {holes} holes are known")
    if holes:
        return HOLES, lines
    if unasked or not parts:
        reason = unasked[0]["skip_reason"] if unasked else "there was nothing to look up"
        lines.append(f"NOT AUDITED: {len(unasked)} parts could not be looked up: {reason}")
        return UNASKED, lines
    return CLEAN, lines


def main() -> int:
    code, lines = audited(*(Path(name).read_text(errors="replace") for name in sys.argv[1:3]))
    print(*lines, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
