"""Writes the tables of bench/README.md from the results in bench/results.

    python bench/report.py [--check]      --check: exit 1 if the page is not what would be written

A table without a result file stays as it is, so one machine may fill only some.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

from rig import RESULTS, ROOT

PAGE = ROOT / "bench" / "README.md"
DETAILS = {
    "W5": "start p99 {start_p99_ms:.2f}; result p50 {result_p50_ms:.2f}, p99 {result_p99_ms:.2f}",
    "W6": "of the server's private memory; on disk {disk_bytes_per_job:.0f}",
    "W7": "an empty start takes {empty_ready_s:.2f}; jobs lost: {lost:.0f}",
}


def number(value: float) -> str:
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def machine_line(results: dict[str, Any]) -> str:
    found = results["machine"]
    return (
        f"Commit {found['commit']}, {found['date']}: {found['cores']} cores of {found['cpu']},"
        f" Linux {found['kernel']}, Python {found['python']}, {found['filesystem']};"
        f" load before the runs {found['load_before']}."
    )


def e2e(results: dict[str, Any]) -> list[str]:
    rows, settings = results["rows"], results["settings"]
    lines = [
        "| id | what | median | runs from – to | a CPU second | server CPU | client CPU | also |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        also = DETAILS.get(name, "").format(**row)
        if name == "W1" and "W1ref" in rows:
            ratios = [a / b for a, b in zip(row["runs"], rows["W1ref"]["runs"], strict=True)]
            also = f"{median(ratios):.2f} × bare aiohttp, run by run"
        shares = [f"{row[key]:.0%}" if key in row else "" for key in ("server_cpu", "client_cpu")]
        spread = f"{number(min(row['runs']))} – {number(max(row['runs']))}"
        lines.append(
            f"| {name} | {row['what']} | **{number(row['value'])}** {row['unit']}"
            f" | {spread} | {number(row['per_cpu_s']) if 'per_cpu_s' in row else ''}"
            f" | {shares[0]} | {shares[1]} | {also} |"
        )
    sizes = (
        f"{settings['runs']} runs; W1 {settings['single']:,} jobs, W2 to W4"
        f" {settings['batched']:,}, W5 {settings['samples']:,}, W6 and W7 {settings['depth']:,}."
    )
    return [*lines, "", f"{sizes} {machine_line(results)}"]


def polls(results: dict[str, Any]) -> list[str]:
    lines = [
        "| workers | parked | private memory each | idle CPU | wake-up p50 | p99 | max |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["rows"].items():
        lines.append(
            f"| {name} | {row['polls']:,} | {row['private_bytes_per_poll'] / 1024:.1f} KiB"
            f" | {row['idle_cpu']:.1%} | {row['wake_p50_ms']:.1f} ms"
            f" | {row['wake_p99_ms']:.1f} ms | {row['wake_max_ms']:.1f} ms |"
        )
    return [*lines, "", machine_line(results)]


def stops(results: dict[str, Any]) -> list[str]:
    lines = ["| what | rounds | median | max |", "|---|---|---|---|"]
    for name, row in results["rows"].items():
        lines.append(
            f"| {name} | {row['rounds']} | {row['median_ms']:.0f} ms | {row['max_ms']:.0f} ms |"
        )
    return [*lines, "", machine_line(results)]


TABLES = {"e2e": e2e, "polls": polls, "stops": stops}


def written(page: str, results_dir: Path) -> str:
    for name, table in TABLES.items():
        path = results_dir / f"{name}.json"
        if path.is_file():
            lines = "\n".join(table(json.loads(path.read_text())))
            marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            page, found = marks.subn(lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", page)
            assert found == 1, f"the page has no place for {name}"
    return page


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    page = PAGE.read_text()
    new = written(page, RESULTS)
    if args.check:
        return int(page != new)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
