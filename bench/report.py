"""Writes the tables and plots of bench/README.md from the results in bench/results.

    python bench/report.py [--check]      --check: exit 1 if the page is not what would be written
    python bench/report.py --png DIR      the pictures as PNG files there, and nothing else

A table or a picture without its result file stays as it is, so one machine may fill only some.
"""

import argparse
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rig import RESULTS, ROOT
from targets import OURS, evaluate, ratio

PAGE = ROOT / "bench" / "README.md"
PLOTS = ROOT / "bench" / "plots"
SOURCES = ("e2e", "scale", "polls", "stops", "native")
MATRIX = ("W1", "W2", "W2k", "W3", "W4", "W5", "W6", "W7")
UNITS = {"W5": "start / result ms"}
DETAILS = {
    "W5": "start p99 {start_p99_ms:.2f}; result p50 {result_p50_ms:.2f}, p99 {result_p99_ms:.2f}",
    "W6": "{jobs:,.0f} jobs",
    "W7": "{jobs:,.0f} jobs, an empty start {empty_start_s:.2f}; lost: {lost:.0f}",
}
BUSY_LOAD = 0.5
"""Of the machine's processors, before the runs."""
BUSY_CLIENT = 0.9
"""A client above this share of its core may be what was measured; its figure says so."""


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


def settings_line(results: dict[str, Any]) -> str:
    settings = results["settings"]
    runs = "one run" if settings["runs"] == 1 else f"{settings['runs']} runs"
    return (
        f"Medians of {runs} of about {settings['seconds']:g} s; W6 and W7 with"
        f" {settings['depth']:,} jobs, fewer where said. {machine_line(results)}{busy(results)}"
    )


def busy(results: dict[str, Any]) -> str:
    about = results["machine"]
    if about["load_before"] <= BUSY_LOAD * about["cores"]:
        return ""
    return (
        " **Other programs ran beside this: rates are too low, and ratios between them say little;"
        " jobs a server-CPU second, below, say more.**"
    )


def e2e(results: dict[str, Any]) -> list[str]:
    """Return systems by workloads."""
    rows = {row: results["rows"][row] for row in MATRIX if row in results["rows"]}
    titles = [f"{row} {UNITS.get(row, found['unit'])}" for row, found in rows.items()]
    lines = [
        f"| system | an answer means | {' | '.join(titles)} |",
        f"|---|---|{'---:|' * len(rows)}",
    ]
    for name, about in results["systems"].items():
        cells = [cell(found["systems"].get(name), name) for found in rows.values()]
        label = f"**{about['label']}**" if name == OURS else about["label"]
        lines.append(f"| {label} | {about['durability']} | {' | '.join(cells)} |")
    lines += ["", f"{settings_line(results)} * The client was at its limit."]
    for found in results["missing"]:
        lines += ["", f"Not on this machine: {found['system']}. To have it: `{found['install']}`."]
    for found in results["failed"]:
        lines += ["", f"Failed: {found['row']} of {found['system']}."]
    return lines


def cell(found: dict[str, Any] | None, system: str) -> str:
    if found is None:
        return ""
    mark = r" \*" if found.get("client_cpu", 0) > BUSY_CLIENT else ""
    text = number(found["value"])
    if "result_p50_ms" in found:
        text += f" / {number(found['result_p50_ms'])}"
    return f"**{text}**{mark}" if system == OURS else f"{text}{mark}"


def rows(results: dict[str, Any]) -> list[str]:
    """Return a row for each workload and system, with everything that was measured."""
    lines = [
        "| id | system | median | runs from – to | headrace is | a server-CPU second"
        " | server CPU | client CPU | also |",
        "|---|---|---:|---|---:|---:|---:|---:|---|",
    ]
    for name, row in results["rows"].items():
        for system, found in row["systems"].items():
            also = ""
            if name in DETAILS:
                also = DETAILS[name].format(**{"empty_start_s": 0.0, **found})
            if "disk_bytes_per_job" in found:
                also += f"; on disk {found['disk_bytes_per_job']:.0f}"
            of = None if system == OURS else ratio(name, system)(results)
            lines.append(
                f"| {name} | {results['systems'][system]['label']}"
                f" | {number(found['value'])} {row['unit']}"
                f" | {number(min(found['runs']))} – {number(max(found['runs']))}"
                f" | {'' if of is None else f'{of:.2f} ×'}"
                f" | {number(found['per_cpu_s']) if 'per_cpu_s' in found else ''}"
                f" | {share(found, 'server_cpu')} | {share(found, 'client_cpu')} | {also} |"
            )
    lines += ["", "| system | version | driven by |", "|---|---|---|"]
    for about in results["systems"].values():
        lines.append(f"| {about['label']} | {about['version']} | {about['client']} |")
    return lines


def share(found: dict[str, Any], key: str) -> str:
    return f"{found[key]:.0%}" if key in found else ""


def targets(results: dict[str, Any]) -> list[str]:
    lines = ["| id | | what | bound | found | |", "|---|---|---|---:|---:|---|"]
    for row in evaluate(results):
        found = "" if row["found"] is None else number(row["found"])
        verdict = row["verdict"] if row["met"] in (True, None) else f"**{row['verdict']}**"
        lines.append(
            f"| {row['row']} | {row['kind']} | {row['what']} | {row['bound']} {row['unit']}"
            f" | {found} | {verdict} |"
        )
    return lines


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


TABLES = {
    # name of the place on the page: (its results, what makes the lines of them)
    "e2e": ("e2e", e2e),
    "targets": ("e2e", targets),
    "rows": ("e2e", rows),
    "polls": ("polls", polls),
    "stops": ("stops", stops),
}


def written(page: str, results: dict[str, dict[str, Any]]) -> str:
    for name, (source, table) in TABLES.items():
        if source in results:
            lines = "\n".join(table(results[source]))
            marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            page, found = marks.subn(lambda m, lines=lines: f"{m[1]}{lines}\n{m[2]}", page)
            assert found == 1, f"the page has no place for {name}"
    return page


def read_all(results_dir: Path) -> dict[str, dict[str, Any]]:
    paths = {name: results_dir / f"{name}.json" for name in SOURCES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def draw(results: dict[str, dict[str, Any]], into: Path, kind: str) -> None:
    if find_spec("matplotlib") is None:
        print("no plots without matplotlib: pip install 'headrace[bench]'", file=sys.stderr)
        return
    from plots import draw as draw_all

    for path in draw_all(results, into, kind):
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--png", type=Path, metavar="DIR")
    args = parser.parse_args()
    results = read_all(RESULTS)
    if args.png is not None:
        draw(results, args.png, "png")
        return 0
    page = PAGE.read_text()
    new = written(page, results)
    if args.check:
        return int(page != new)
    PAGE.write_text(new)
    draw(results, PLOTS, "svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
