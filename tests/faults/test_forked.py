"""A server that is forked can be ended from its first moment on, however busy the machine is."""

from pathlib import Path

import forked
import pytest
from processes import Process


def test_who_is_forked_can_be_killed_before_it_has_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "_become", lambda *_: forked.time.sleep(60))
    for number in range(20):
        process = Process([], tmp_path / f"{number}.log", is_forked=True)
        process.kill()
        assert process.popen.poll() == -9
