"""Draws what bench/results holds; `bench/report.py` calls it. Needs matplotlib.

Each picture states its units and, where systems are compared, what an acknowledgement of each
promises. headrace is blue in all; grey peers sync before each answer, hatched ones do not.
"""

from collections.abc import Callable, Sequence
from math import log2
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

Results = dict[str, Any]
OURS = "headrace"
BLUE, ORANGE, GREEN, GREY, PALE = "#1259c3", "#d9730d", "#2b8a5b", "#7a828c", "#c9ced4"
INK, FAINT = "#1f2328", "#6b7280"
SYNCED_WORDS = ("fsync before each answer", "fsync on each write")
THROUGHPUT = {
    "W1": "W1  submit one by one, 64 connections",
    "W2": "W2  submit in batches of 100",
    "W3": "W3  take and complete, batches of 100",
    "W4": "W4  all of it at once, batches of 100",
}
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": PALE,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": FAINT,
    "ytick.color": INK,
    "text.color": INK,
    "hatch.color": "#9aa2ab",
    "svg.hashsalt": "headrace",  # the same ids in every drawing
    "figure.facecolor": "white",
    "savefig.bbox": "tight",
}


def draw(results: dict[str, Results], into: Path, kind: str = "svg") -> list[Path]:
    """Draw all for which there are results; return the files."""
    into.mkdir(parents=True, exist_ok=True)
    drawn = []
    pictures: dict[str, tuple[str, Callable[[Results], Figure | None]]] = {
        "throughput": ("e2e", throughput),
        "latency": ("e2e", latency),
        "memory": ("e2e", memory),
        "depth": ("native", depth),
        "classes": ("native", classes),
    }
    with mpl.rc_context(STYLE):
        for name, (source, picture) in pictures.items():
            figure = picture(results[source]) if source in results else None
            if figure is not None:
                path = into / f"{name}.{kind}"
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(path, metadata=metadata, dpi=110)
                drawn.append(path)
    return drawn


# headrace and peers -----------------------------------------------------------------------------


def label(results: Results, system: str) -> str:
    about = results["systems"][system]
    return f"{about['label']}\n{about['durability']}"


def fill(results: Results, system: str) -> dict[str, Any]:
    """Return how a bar is drawn."""
    if system == OURS:
        return {"color": BLUE}
    if results["systems"][system]["durability"] in SYNCED_WORDS:
        return {"color": GREY}
    return {"facecolor": "#edf0f2", "edgecolor": "#9aa2ab", "hatch": "////", "linewidth": 0.6}


def legend(figure: Figure) -> None:
    figure.legend(
        handles=[
            Patch(color=BLUE, label="headrace (synced before each answer)"),
            Patch(color=GREY, label="peer, synced before each answer"),
            Patch(**fill({"systems": {"": {"durability": ""}}}, ""), label="peer, not synced then"),
        ],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        frameon=False,
    )


def bars(axes: Axes, results: Results, values: dict[str, float], form: str) -> None:
    """Draw the largest at the top, each with its number at its end."""
    order = sorted(values, key=values.__getitem__)
    for place, system in enumerate(order):
        value = values[system]
        axes.barh(place, value, height=0.72, **fill(results, system))
        axes.annotate(
            form.format(value),
            (value, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if system == OURS else "normal",
            color=BLUE if system == OURS else INK,
        )
    names(axes, results, order)
    axes.set_xlim(0, max(values.values()) * 1.17)
    axes.grid(axis="x", color="#eceff1", zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def names(axes: Axes, results: Results, order: Sequence[str]) -> None:
    axes.set_yticks(range(len(order)), [label(results, system) for system in order], fontsize=8)
    for text, system in zip(axes.get_yticklabels(), order, strict=True):
        if system == OURS:
            text.set_color(BLUE)
            text.set_fontweight("bold")


def medians(results: Results, row: str) -> dict[str, float]:
    systems = results["rows"].get(row, {}).get("systems", {})
    return {name: found["value"] for name, found in systems.items()}


def throughput(results: Results) -> Figure | None:
    rows = {row: title for row, title in THROUGHPUT.items() if medians(results, row)}
    if not rows:
        return None
    figure = Figure(figsize=(13, 0.45 * 10 * (len(rows) + 1) // 2 + 1), layout="constrained")
    for place, (row, title) in enumerate(rows.items()):
        axes = figure.add_subplot((len(rows) + 1) // 2, 2, place + 1)
        bars(axes, results, medians(results, row), "{:,.0f}")
        axes.set_title(title)
        axes.set_xlabel("jobs a second, one core for the server")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    legend(figure)
    return figure


def latency(results: Results) -> Figure | None:
    """A line for each system from its 1st to its 99th percentile; the middle half is thick."""
    systems = results["rows"].get("W5", {}).get("systems", {})
    if not systems:
        return None
    order = sorted(systems, key=lambda name: -systems[name]["result_p50_ms"])
    figure = Figure(figsize=(13, 0.5 * len(order) + 1.6), layout="constrained")
    panels = {
        "start_quantiles_ms": "W5  submit → a waiting worker has the job",
        "result_quantiles_ms": "W5  submit → the client sees the result",
    }
    for place, (key, title) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 2, place + 1)
        for row, name in enumerate(order):
            quantiles = systems[name][key]
            colour = BLUE if name == OURS else GREY
            dashed = results["systems"][name]["durability"] not in SYNCED_WORDS
            style = (0, (2, 1.5)) if dashed else "solid"
            axes.plot([quantiles[1], quantiles[99]], [row, row], color=colour, lw=1.6, ls=style)
            axes.plot([quantiles[25], quantiles[75]], [row, row], color=colour, lw=7, alpha=0.55)
            axes.plot(quantiles[50], row, "o", color=colour, ms=7, mec="white", mew=1)
            axes.annotate(
                f"{quantiles[50]:.2f} / {quantiles[99]:.1f}",
                (quantiles[99], row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=BLUE if name == OURS else INK,
                fontweight="bold" if name == OURS else "normal",
            )
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * 2.2)
        plain_log(axes)
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.set_title(title)
        axes.set_xlabel("milliseconds (log); numbers are p50 / p99; dashed: not synced")
        axes.grid(axis="x", color="#eceff1")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        if place == 0:
            names(axes, results, order)
        else:
            axes.set_yticks([])
    return figure


def memory(results: Results) -> Figure | None:
    values = medians(results, "W6")
    if not values:
        return None
    figure = Figure(figsize=(7.5, 0.55 * len(values) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    bars(axes, results, values, "{:,.0f} B")
    jobs = results["rows"]["W6"]["systems"].get(OURS, {}).get("jobs", 0)
    axes.set_title(f"W6  memory of a queued job, {jobs:,} of them with 200 bytes of params")
    axes.set_xlabel("bytes of private memory of the server (headrace keeps the params on disk)")
    return figure


# The native structures --------------------------------------------------------------------------


def depth(results: Results) -> Figure | None:
    rows = results.get("depth", [])
    title = "W8  one take from the match index, 100 classes, any depth"
    lines = {
        "take_ns": ("a take, called from Python", BLUE),
        "batch_ns": ("in a batch of 100, each", GREEN),
        "take_p99_ns": ("a take, p99", ORANGE),
    }
    return growth(rows, "jobs", lines, title, "queued jobs (log)")


def classes(results: Results) -> Figure | None:
    coming = {
        row["classes"]: row["take_mean_ns"]
        for row in results.get("churn", [])
        if row.get("needs") == "uniform"
    }
    rows = [
        {**row, "coming_ns": coming.get(row["classes"], row["take_ns"])}
        for row in results.get("classes", [])
        if row.get("needs") == "uniform"
    ]
    title = "W8  one take, each job with needs of its own"
    lines = {
        "take_ns": ("a take, called from Python", BLUE),
        "coming_ns": ("while shapes come and go", GREEN),
        "take_p99_ns": ("a take, p99", ORANGE),
    }
    return growth(rows, "classes", lines, title, "classes: different needs among the jobs (log)")


def growth(
    rows: Sequence[Results],
    over: str,
    lines: dict[str, tuple[str, str]],
    title: str,
    below: str,
) -> Figure | None:
    """Draw costs over a size, and beside the first of them, from 1,000 on, what log n would be."""
    rows = [row for row in rows if all(key in row for key in (over, *lines))]
    if len(rows) < 2:
        return None
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    sizes = [row[over] for row in rows]
    for key, (name, colour) in lines.items():
        costs = [row[key] for row in rows]
        axes.plot(sizes, costs, "o-", color=colour, lw=2, ms=5)
        axes.annotate(
            f"{name}: {costs[-1]:,.0f} ns",
            (sizes[-1], costs[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
        )
    first = next(iter(lines))
    steps = [(size, row[first]) for size, row in zip(sizes, rows, strict=True) if size >= 1_000]
    if not steps:
        return None
    unit = steps[0][1] / log2(steps[0][0])
    axes.plot(
        [size for size, _ in steps],
        [unit * log2(size) for size, _ in steps],
        ":",
        color=FAINT,
        lw=1.4,
    )
    axes.annotate(
        "as log n",
        (steps[-1][0], unit * log2(steps[-1][0])),
        xytext=(8, 6),
        textcoords="offset points",
        va="bottom",
        color=FAINT,
        fontsize=9,
    )
    axes.set_xscale("log")
    axes.set_xlim(sizes[0] / 1.5, sizes[-1] * 60)
    axes.set_xticks(sizes)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.minorticks_off()
    axes.set_ylim(0)
    axes.yaxis.set_major_formatter(FuncFormatter(thousands))
    axes.set_ylabel("nanoseconds")
    axes.set_xlabel(below)
    axes.set_title(title)
    axes.grid(color="#eceff1")
    axes.set_axisbelow(True)
    return figure


# Axes -------------------------------------------------------------------------------------------


def thousands(value: float, _: object) -> str:
    return f"{value:,.0f}"


def plain_log(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
