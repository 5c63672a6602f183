"""`headrace config`, and that a server runs with what it shows."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headrace.cli.app import app
from headrace.runtime.config import SETTINGS, Config
from headrace.runtime.layers import effective

from .processes import Process


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("HEADRACE_") or name in ("QUEUE_SIZE", "MAX_PRIORITY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments], env=environ)


def test_each_value_is_shown_with_its_source(elsewhere: Path) -> None:
    (elsewhere / "headrace.yaml").write_text(
        "lease: 90s\njob_logger:\n  file: logs/job.log\nqueues: {compute: 4}\n"
    )
    lines = config("--queue", "slow=1", "--no-lane", QUEUE_SIZE="10000").output.splitlines()
    shown = {tuple(line.split(maxsplit=3)[:2]): line.partition("# ")[2] for line in lines}
    assert shown["lease:", "1m30s"] == "headrace.yaml:1"
    assert shown["file:", "logs/job.log"] == "headrace.yaml:3"
    assert shown["compute:", "4"] == "headrace.yaml:4"
    assert shown["slow:", "1"] == "--queue"
    assert shown["lane:", "false"] == "--no-lane"
    assert shown["queue_size:", "10000"] == "QUEUE_SIZE"
    assert shown["port:", "8080"] == "default"
    assert shown["data:", "headrace-data"] == "default"


@pytest.mark.parametrize("data", ["jobs", "a b", "yes", "5", "ü\x1b'\"#: "])
def test_what_is_printed_is_a_file_that_says_the_same(elsewhere: Path, data: str) -> None:
    printed = config("--data", data, "--lease", "250ms", "--queue", "compute=null", "--max-cpu=2")
    assert printed.exit_code == 0
    path = elsewhere / "printed.yaml"
    path.write_text(printed.stdout)
    found = effective(Config, file=path).config
    assert (found.data_dir, found.lease_ms) == (Path(data), 250)
    assert found.queue_capacities["compute"] is None
    assert found.resources_max.cpu_cores == 2
    assert config("--check", "printed.yaml").output == "printed.yaml is in order\n"


def test_for_programs_it_is_json(elsewhere: Path) -> None:
    (elsewhere / "other.yaml").write_text("port: 1\n")
    answer = json.loads(config("--json", "--config", "other.yaml").stdout)
    assert answer["file"] == "other.yaml"
    assert answer["settings"]["port"] == {"value": 1, "source": "other.yaml:1"}
    assert answer["settings"]["queues.compute"] == {"value": 1, "source": "default"}
    assert answer["settings"]["job_logger.file_level"]["value"] == "debug"
    assert answer["warnings"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot: 1\n", "bad.yaml:1: there is no setting 'prot'; did you mean 'port'?"),
        ("port: 1\nhost: 0.0.0.0\n", "--insecure"),
        ("lease: 1ms\n", "bad.yaml:1: lease: '1ms' will not do: it must be at least 100ms"),
    ],
)
def test_check_says_what_to_change(elsewhere: Path, text: str, said: str) -> None:
    (elsewhere / "bad.yaml").write_text(text)
    found = config("--check", "bad.yaml", HEADRACE_PORT="not looked at")
    assert found.exit_code == 2
    assert said in found.output


def test_check_is_quiet_about_the_environment(elsewhere: Path) -> None:
    (elsewhere / "good.yaml").write_text("port: 1\n")
    assert config("--check", "good.yaml", HEADRACE_PORT="not looked at").exit_code == 0


def test_what_cannot_be_served_is_shown_and_is_exit_code_2() -> None:
    found = config("--host", "0.0.0.0")
    assert 'host: "0.0.0.0"' in found.stdout
    assert found.exit_code == 2


def test_help_names_every_setting() -> None:
    output = CliRunner().invoke(app, ["serve", "--help"]).output
    assert all(setting.flag in output for setting in SETTINGS)


def test_a_server_takes_its_settings_from_the_file_here(elsewhere: Path) -> None:
    (elsewhere / "headrace.yaml").write_text(
        "memory: true\nport: 0\nlog_format: json\nmetric_prefix: weir\n"
        "job_logger:\n  console_level: error\n  file: logs/job.log\n"
    )
    server = Process("serve")
    try:
        url = server.match(r"http://[\d.:]+")[0]
        request = urllib.request.Request(
            url + "/api/v1/jobs",
            data=b'{"type": "t", "params": "canary"}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            job_id = json.load(response)["job_id"]
        with urllib.request.urlopen(url + "/metrics") as response:
            assert b"\nweir_" in response.read()
    finally:
        assert server.stop() == 0
    text = (elsewhere / "logs" / "job.log").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert ("job submitted", job_id) in [
        (event["message"], event.get("job_id")) for event in events
    ]
    assert "canary" not in text


def test_a_log_file_that_cannot_be_opened_is_exit_code_2(elsewhere: Path) -> None:
    (elsewhere / "logs").write_text("in the way")
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", "--memory", "--job-logger-file", "logs/x"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "the log file logs/x cannot be written" in done.stderr


def test_the_file_in_the_readme_is_in_order(elsewhere: Path) -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    found = re.search(r"<!-- config -->\s*```yaml\n(.*?)```", readme, re.DOTALL)
    assert found is not None, "README.md has no configuration after its marker"
    (elsewhere / "readme.yaml").write_text(found[1])
    assert config("--check", "readme.yaml").output == "readme.yaml is in order\n"
