"""The script at the head of the single file: where it unpacks, and what it refuses.

The program in these files is a shell script that says how it was called.
"""

import importlib.util
import os
import subprocess
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = '#!/bin/sh\necho "$(dirname "$0")" "$@" "home=${PYTHONHOME-none}" "mask=$(umask)"\n'


def write(tree: Path, binary: Path) -> None:
    loader = SourceFileLoader("build_binary", str(ROOT / "tools" / "build-binary"))
    spec = importlib.util.spec_from_loader("build_binary", loader)
    assert spec is not None
    tool = importlib.util.module_from_spec(spec)
    loader.exec_module(tool)
    tool.write("1.2.3", tree, binary)


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    program = tmp_path / "tree" / "bin" / "headrace"
    program.parent.mkdir(parents=True)
    program.write_text(SAYS)
    program.chmod(0o755)
    write(tmp_path / "tree", tmp_path / "bin" / "headrace")
    return tmp_path / "bin" / "headrace"


def start(binary: Path, *words: str, **env: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary, *words],
        env={name: str(value) for name, value in env.items()},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_start_unpacks_and_later_ones_use_what_is_there(
    binary: Path, tmp_path: Path
) -> None:
    place = tmp_path / "unpacked"
    first = start(binary, "submit", "two words", HEADRACE_UNPACK=place, PYTHONHOME="/nowhere")
    assert first.returncode == 0, first.stderr
    [program] = place.iterdir()
    assert program.name.startswith("headrace-1.2.3-")
    said = f"{program}/bin -P -s -m headrace submit two words home=none mask=0022\n"
    assert first.stdout == said
    assert place.stat().st_mode & 0o777 == 0o700
    (program / "bin" / "headrace").write_text("#!/bin/sh\necho as it was left\n")
    assert start(binary, HEADRACE_UNPACK=place).stdout == "as it was left\n"


@pytest.mark.parametrize(
    ("env", "place"),
    [
        ({"CACHE_DIRECTORY": "{}/of-unit:{}/other"}, "of-unit/program"),
        ({"XDG_CACHE_HOME": "{}/xdg", "HOME": "{}"}, "xdg/headrace/program"),
        ({"HOME": "{}"}, ".cache/headrace/program"),
    ],
)
def test_it_unpacks_into_the_cache_of_the_unit_or_of_the_user(
    binary: Path, tmp_path: Path, env: dict[str, str], place: str
) -> None:
    done = start(
        binary, **{name: value.replace("{}", str(tmp_path)) for name, value in env.items()}
    )
    assert done.stdout.startswith(str(tmp_path / place)), done


def test_it_runs_nothing_from_a_directory_that_others_may_write(
    binary: Path, tmp_path: Path
) -> None:
    place = tmp_path / "unpacked"
    assert start(binary, HEADRACE_UNPACK=place).returncode == 0
    for mode in (0o770, 0o707, 0o777):
        place.chmod(mode)
        refused = start(binary, HEADRACE_UNPACK=place)
        assert (refused.returncode, refused.stdout) == (70, "")
        assert "only you can write" in refused.stderr
    place.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(place)
    assert start(binary, HEADRACE_UNPACK=link).returncode == 70


@pytest.mark.parametrize("damage", ["cut short", "another sum"])
def test_a_damaged_file_leaves_nothing_half_unpacked(
    binary: Path, tmp_path: Path, damage: str
) -> None:
    place = tmp_path / "unpacked"
    whole = binary.read_bytes()
    binary.write_bytes(whole[:-40] if damage == "cut short" else whole[:-8] + bytes(4) + whole[-4:])
    refused = start(binary, HEADRACE_UNPACK=place)
    assert (refused.returncode, refused.stdout) == (70, "")
    assert "cannot be unpacked" in refused.stderr
    assert list(place.iterdir()) == []
    binary.write_bytes(whole)
    assert start(binary, HEADRACE_UNPACK=place).returncode == 0


def test_many_first_starts_at_once_agree_on_one_place(binary: Path, tmp_path: Path) -> None:
    place = tmp_path / "unpacked"
    started = [
        subprocess.Popen(
            [binary, str(number)],
            env={"HEADRACE_UNPACK": str(place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    said = [process.communicate() for process in started]
    [program] = place.iterdir()
    for number, (out, err) in enumerate(said):
        assert out.startswith(f"{program}/bin -P -s -m headrace {number} "), err


def test_the_same_tree_gives_the_same_file(binary: Path, tmp_path: Path) -> None:
    before = binary.read_bytes()
    os.utime(tmp_path / "tree" / "bin" / "headrace", (1, 1))
    write(tmp_path / "tree", binary)
    assert binary.read_bytes() == before
