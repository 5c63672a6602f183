"""Campaigns are cut, run, continued and added up; the table says what was reached, and how."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import figures
import io_faults
import pytest
import table
from campaigns import BY_NAME, CAMPAIGNS, Campaign
from figures import Figures
from msgspec import structs

import trust
from sim.mutants import MUTANTS
from trust import OVER_CORES, Piece, Runs, pieces, plan, plan_full, plan_quick

LEAVES = Path(__file__).with_name("leaves.py")
FAKE = Campaign(
    name="fake",
    what="",
    unit="lives",
    command=f"{sys.executable} {LEAVES} {{amount}} {{seed}}",
    quick=1,
    full=25,
    piece=10,
    control=f"{sys.executable} {LEAVES} 1 {{seed}} --control {{defect}}",
    defects=("lies", "sleeps"),
)


def made(amount: int = 10, seed: int = 1, **more: object) -> Figures:
    fields = {"campaign": "kill-9", "violations": 0, "seconds": 60.0, "commit": "c1"}
    fields |= {"machine": "m1", "on": "2030-01-01", "amount": amount, "seed": seed}
    return Figures(**(fields | more))


def test_an_amount_is_cut_into_runs_with_seeds_of_their_own() -> None:
    assert [(one.amount, one.seed) for one in pieces(FAKE, 25, 4)] == [(10, 4), (10, 5), (5, 6)]
    simulation = BY_NAME["simulation"]
    whole = [one.words()[2] for one in pieces(simulation, 2 * simulation.piece, 1)]
    assert whole == ["1..100", "101..200"]
    assert Piece(BY_NAME["io-faults"], 25, 26).words()[1:] == ["--skip", "25", "--cells", "25"]


def test_what_is_left_is_run_from_the_next_seed_on_and_a_control_until_it_is_found_out() -> None:
    done = [
        made(10, 1, campaign="fake"),
        made(10, 2, campaign="fake"),
        made(1, 1, campaign="fake", control="lies", violations=3),
        made(1, 1, campaign="fake", control="sleeps", violations=0),
        made(1, 9, campaign="other"),
    ]
    assert plan(FAKE, None, done) == [Piece(FAKE, defect="sleeps"), Piece(FAKE, 5, 3)]
    assert plan(FAKE, 11, done)[1:] == [Piece(FAKE, 10, 3), Piece(FAKE, 1, 4)]
    assert plan_quick(FAKE, []) == [Piece(FAKE, defect="lies"), Piece(FAKE, 1, 1)]


def test_runs_leave_figures_and_those_that_fail_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(tmp_path, 2, 0)
    bad = Piece(FAKE, 7, 13)  # what leaves.py fails with
    runs.all([Piece(FAKE, 5, 1), Piece(FAKE, defect="lies"), bad])
    assert runs.failed == [bad]
    told = capsys.readouterr().out
    assert "5 without a violation" in told
    assert "fake with lies: found out" in told
    assert "FAILED" in told
    assert "two jobs for one key" in told
    left = {(one.amount, one.violations, one.control) for one in figures.collected(tmp_path)}
    assert left == {(5, 0, ""), (1, 1, "lies"), (7, 1, "")}
    assert [log.name for log in (tmp_path / "logs").iterdir()] != []


def test_cells_that_were_broken_off_are_run_and_none_twice() -> None:
    faults = BY_NAME["io-faults"]
    done = [made(25, at, campaign="io-faults", seeds=25) for at in (1, 51)]
    planned = [piece for piece in plan(faults, None, done) if not piece.defect]
    cells = [cell for piece in planned for cell in range(piece.seed, piece.seed + piece.amount)]
    assert cells == [*range(26, 51), *range(76, faults.full + 1)]


def test_what_was_never_run_comes_first_and_of_that_the_shortest() -> None:
    names = {
        name: structs.replace(FAKE, name=name, defects=()) for name in ("met", "long", "short")
    }
    names["long"] = structs.replace(names["long"], each_s=100.0)
    planned = plan_full(list(names.values()), [made(5, 1, campaign="met", seconds=1.0)])
    assert [piece.campaign.name for piece in planned] == 3 * ["short"] + 3 * ["long"] + 2 * ["met"]


def test_pieces_that_wait_run_beside_those_that_compute(tmp_path: Path) -> None:
    computes, waits = Piece(FAKE, 1, 1), Piece(structs.replace(FAKE, cores=OVER_CORES), 1, 2)
    runs = Runs(tmp_path, 1, 0)
    assert runs._next([computes, waits]) is computes
    runs._running.append(runs._begun(computes))
    assert runs._next([computes, waits]) is waits
    runs._running.append(runs._begun(waits))
    assert runs._next([computes, waits]) is None
    runs.all([])


def test_a_violation_ends_it_all_and_what_was_whole_by_then_counts(tmp_path: Path) -> None:
    kept: list[Figures] = []
    runs = Runs(tmp_path, 1, 0, stops=True, over=kept.extend)
    runs.all([Piece(FAKE, 5, 1), Piece(FAKE, 7, 13), Piece(structs.replace(FAKE), 5, 14)])
    assert [piece.seed for piece in runs.failed] == [13]
    assert [(one.seed, one.violations) for one in kept] == [(1, 0), (13, 1)]


def test_what_is_told_to_stop_breaks_off_what_is_under_way_and_no_more_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sleeps = structs.replace(FAKE, command=f"{sys.executable} -c 'import time; time.sleep(600)'")
    runs = Runs(tmp_path, 1, 0)
    # As `main` has it. What a shell begins in the background ignores interrupts, with its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        runs._running.append(runs._begun(Piece(sleeps, 10, 1)))
        runs.stop()
        runs.all([Piece(sleeps, 10, 2)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert runs.failed == []
    assert "broken off" in capsys.readouterr().out


def test_figures_are_kept_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    figures.keep(file, [made(seed=2), made(seed=1)])
    figures.keep(file, [made(seed=2), made(seed=3)])
    assert figures.kept(file) == [made(seed=1), made(seed=2), made(seed=3)]


def test_the_table_adds_up_by_commit_and_shows_what_went_wrong() -> None:
    rows = table.of(
        [
            made(1_000),
            made(500, 2, violations=2),
            made(600, commit="c2", on="2030-01-02"),
            made(100, 7, commit="c2"),
            made(1, control="stale-lease", violations=4),
            made(1, control="keys-forgotten"),
        ]
    ).splitlines()
    assert [row for row in rows if row.startswith("| `kill-9` ")] == [
        "| `kill-9` | 1,500 lives | 50 % | 2 | ack-before-commit: not run, stale-lease: 1 of 1,"
        " **keys-forgotten: 0 of 1** | 4 min | `c1`, 2030-01-01, A |",
        "| `kill-9` | 700 lives | 23 % | 0 | ack-before-commit: not run, stale-lease: not run,"
        " keys-forgotten: not run | 2 min | `c2`, 2030-01-01 to 2030-01-02, A |",
    ]
    assert rows[-1] == "A: m1."


def test_every_campaign_is_a_command_and_what_is_finite_is_run_whole() -> None:
    for campaign in CAMPAIGNS:
        planned = [Piece(campaign, campaign.quick or 1)]
        planned += [Piece(campaign, defect=defect) for defect in campaign.defects]
        for piece in planned:
            assert os.access(figures.ROOT / piece.words()[0], os.X_OK), piece
    assert len(BY_NAME) == len(CAMPAIGNS), "a name comes twice"
    assert BY_NAME["io-faults"].full == len(io_faults.matrix())
    assert BY_NAME["mutants"].full <= len(MUTANTS)


def test_the_table_of_the_page_is_made_of_the_figures_that_are_kept() -> None:
    kept = figures.kept(figures.KEPT)
    assert table.written(table.PAGE) == table.of(kept), "run tools/trust --table --keep"
    assert not any(one.commit.endswith("+") for one in kept), "of no commit that there is"
    assert {one.campaign for one in kept} <= BY_NAME.keys()


@pytest.mark.parametrize("words", [[], ["kill-9"], ["--quick", "nothing"]])
def test_the_command_says_what_it_lacks(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["trust", *words])
    with pytest.raises(SystemExit, match="2"):
        trust.main()


def test_the_simulation_runs_none_of_what_its_commit_leaves_out() -> None:
    program = "import sim.run, sys; print(*(one for one in sys.modules if 'headrace.' in one))"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=figures.ROOT / "tests",
        capture_output=True,
        text=True,
        check=True,
    )
    packages = {module.split(".")[1] for module in found.stdout.split()}
    assert "core" in packages
    assert not packages & set(figures.FACES)
    for name in figures.FACES:
        assert (figures.ROOT / "src" / "headrace" / name).is_dir()
