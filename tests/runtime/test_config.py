"""What an operator may set, and what is refused."""

from pathlib import Path

import pytest

from headrace.core.resources import Amounts
from headrace.runtime.config import SETTINGS, Config, ConfigError, ResourcesMax
from headrace.wire import limits


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_word(host: str) -> None:
    Config(host=host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_addresses_need_the_word_insecure(host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        Config(host=host).check()
    Config(host=host, insecure=True).check()


@pytest.mark.parametrize(
    "config",
    [
        Config(lease_ms=limits.LEASE_MS_MIN - 1),
        Config(lease_ms=limits.LEASE_MS_MAX + 1),
        Config(crashes_max=0),
        Config(result_bytes_max=limits.OUTPUT_CAP_BYTES_MIN - 1),
        Config(result_bytes_max=limits.OUTPUT_BYTES_MAX + 1),
        Config(output_bytes_max=limits.OUTPUT_BYTES_MAX + 1),
        Config(queue_capacities={"q": -1}),
        Config(port=65_536),
        Config(drain_s=-1.0),
        Config(priority_max=10),
        Config(metric_prefix="a b"),
    ],
)
def test_what_cannot_work_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError):
        config.check()


def test_the_engine_gets_its_part() -> None:
    largest = ResourcesMax(cpu_cores=0.001, memory_mb=2)
    engine = Config(lease_ms=500, crashes_max=7, queue_size=9, resources_max=largest).engine()
    assert (engine.lease_ms, engine.crashes_max, engine.jobs_max) == (500, 7, 9)
    assert engine.resources_max == Amounts(1, 2, limits.STORAGE_MB_MAX, limits.GPU_MILLI_MAX)
    assert engine.queue_capacities == {"compute": 1, "maintenance": 5, "download": 10}


def test_a_queue_can_be_freed_of_its_limit() -> None:
    engine = Config(queue_capacities={"compute": None, "slow": 0}).engine()
    assert engine.queue_capacities == {"slow": 0}


def test_no_largest_job_is_no_limit() -> None:
    assert Config().engine().resources_max is None


def test_in_memory_there_is_no_directory() -> None:
    assert Config(memory=True, data_dir=Path("jobs")).data_dir is None


def test_every_setting_has_one_flag_and_its_own_variables() -> None:
    flags = [setting.flag for setting in SETTINGS]
    variables = [variable for setting in SETTINGS for variable in setting.variables]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)
    assert {"--data", "--lease", "--max-memory", "--log-level", "--queue"} <= set(flags)
    assert {"HEADRACE_PORT", "QUEUE_SIZE", "MAX_PRIORITY"} <= set(variables)


def test_the_section_of_the_log_has_its_published_names() -> None:
    names = [setting.path[1] for setting in SETTINGS if setting.path[0] == "job_logger"]
    assert names == [
        "console_level",
        "file_level",
        "file",
        "max_size_mb",
        "max_backups",
        "max_age_days",
    ]
