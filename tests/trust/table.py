"""The table of what campaigns reached, as it stands in `src/RELIABILITY.md`."""

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import figures
from campaigns import CAMPAIGNS, Campaign
from figures import Figures

PAGE: Final = figures.ROOT / "src" / "RELIABILITY.md"
MARKED: Final = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- /figures -->)", re.DOTALL)
HEAD: Final = (
    "| campaign | reached | of the programme | violations | controls found out | time | tested |"
)


def of(found: Sequence[Figures]) -> str:
    """Return the table: a row for each campaign and each commit that it was run on."""
    places = sorted({one.machine for one in found})
    groups: defaultdict[tuple[str, str, str], list[Figures]] = defaultdict(list)
    for one in found:
        groups[one.campaign, one.commit, one.machine].append(one)
    rows = [HEAD, "|---|--:|--:|--:|---|--:|---|"]
    for campaign in CAMPAIGNS:
        mine = [group for (name, _, _), group in groups.items() if name == campaign.name]
        rows += [
            _row(campaign, group, places)
            for group in sorted(mine, key=lambda group: (_days(group), group[0].commit))
        ]
        if not mine:
            rows.append(f"| `{campaign.name}` | none yet | 0 % | | {_controls(campaign, [])} | | |")
    notes = [f"{_letter(place, places)}: {place}." for place in places]
    return "\n".join([*rows, *([""] if notes else []), *notes]) + "\n"


def _row(campaign: Campaign, group: list[Figures], places: list[str]) -> str:
    ran = [one for one in group if not one.control]
    amount = sum(one.amount for one in ran)
    seconds = sum(one.seconds for one in group)
    cells = (
        f"`{campaign.name}`",
        f"{amount:,} {campaign.unit}",
        f"{min(100, 100 * amount // campaign.full)} %",
        f"{sum(one.violations for one in ran)}",
        _controls(campaign, group),
        f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s",
        f"`{group[0].commit}`, {_days(group)}, {_letter(group[0].machine, places)}",
    )
    return f"| {' | '.join(cells)} |"


def _controls(campaign: Campaign, group: list[Figures]) -> str:
    """Say of each planted defect whether it was found out, as often as it was planted."""
    if not campaign.defects:
        return "—"
    said = []
    for defect in campaign.defects:
        planted = [one for one in group if one.control == defect]
        known = sum(one.violations > 0 for one in planted)
        if not planted:
            said.append(f"{defect}: not run")
        elif known < len(planted):
            said.append(f"**{defect}: {known} of {len(planted)}**")
        else:
            said.append(f"{defect}: {known} of {known}")
    return ", ".join(said)


def _days(group: list[Figures]) -> str:
    days = sorted({one.on for one in group})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _letter(place: str, places: list[str]) -> str:
    return chr(ord("A") + places.index(place))


def written(page: Path) -> str:
    """Return the table that stands in a page."""
    marked = MARKED.search(page.read_text())
    assert marked, f"{page} has no place for figures"
    return marked[0]


def write(page: Path, text: str) -> None:
    page.write_text(MARKED.sub(lambda _: text, page.read_text()))
