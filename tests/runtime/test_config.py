"""What an operator may set, and what is refused."""

import pytest

from headrace.core.resources import Amounts
from headrace.runtime.config import Config, ConfigError
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
        Config(queue_capacities={"q": -1}),
    ],
)
def test_what_cannot_work_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError):
        config.check()


def test_the_engine_gets_its_part() -> None:
    largest = Amounts(cpu_milli=1)
    engine = Config(lease_ms=500, crashes_max=7, queue_size=9, resources_max=largest).engine()
    assert (engine.lease_ms, engine.crashes_max, engine.jobs_max) == (500, 7, 9)
    assert engine.resources_max == largest
    assert engine.queue_capacities == {"compute": 1, "maintenance": 5, "download": 10}
