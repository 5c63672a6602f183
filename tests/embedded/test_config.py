"""Settings of a queue inside a program."""

from pathlib import Path

import pytest

from headrace import QueueConfig
from headrace.sdk import UsageError


def test_settings_become_those_of_a_node() -> None:
    config = QueueConfig(path="jobs", max_queue_size=7, lease_s=2.5, queues={"slow": 1}).node()
    assert config.data_dir == Path("jobs")
    assert (config.queue_size, config.lease_ms) == (7, 2_500)
    assert config.queue_capacities == {"slow": 1}


def test_without_a_path_nothing_is_kept() -> None:
    assert QueueConfig().node().data_dir is None


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (QueueConfig(max_workers=0), "max_workers"),
        (QueueConfig(max_queue_size=-1), "max_queue_size"),
        (QueueConfig(default_timeout="soon"), "default_timeout"),
        (QueueConfig(default_timeout=0), "default_timeout"),
        (QueueConfig(lease_s=0), "lease"),
        (QueueConfig(queues={"slow": -1}), "queues"),
    ],
)
def test_wrong_settings_are_named(config: QueueConfig, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        config.node()
