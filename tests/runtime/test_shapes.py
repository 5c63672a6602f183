"""Worker shapes as operators write them."""

import pytest

from headrace.core.resources import Amounts, Profile, WorkerShape
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.shapes import SHAPES_MAX, read_shapes


def test_what_is_not_said_is_nothing_or_anything() -> None:
    assert read_shapes({"a": ""}) == [WorkerShape("a", Profile(wasm=True), Amounts())]


def test_a_shape_says_all_that_a_worker_does() -> None:
    text = (
        "cpu_cores=1.5; memory=2GiB; storage = 1GiB; gpu_count=1; gpu_type=A100;"
        " label.zone=a; label.k=v=w; queues=x|y; types=t; wasm=no; tenant=acme;"
    )
    assert read_shapes({"gpu": text}) == [
        WorkerShape(
            "gpu",
            Profile(
                types=frozenset({"t"}),
                wasm=False,
                queues=frozenset({"x", "y"}),
                gpu_model="A100",
                labels=frozenset({"zone=a", "k=v=w"}),
                tenant="acme",
            ),
            Amounts(1_500, 2_048, 1_024, 1_000),
        )
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cpu_core=4", "did you mean"),
        ("cpu_cores", "NAME=VALUE"),
        ("cpu_cores=x", "cpu_cores is a number"),
        ("cpu_cores=-1", "cpu_cores is a number"),
        ("cpu_cores=nan", "cpu_cores is a number"),
        ("cpu_cores=1;cpu_cores=2", "twice"),
        ("memory=4", "a size is a number and a unit"),
        ("memory=9999999TiB", "too much"),
        ("wasm=maybe", "yes or no"),
        ("label.=x", "there is no"),
    ],
)
def test_a_mistake_is_told_with_the_shape(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        Config(worker_shapes={"pool": text}).check()
    assert "worker_shapes: 'pool'" in str(raised.value)


def test_shapes_are_bounded() -> None:
    with pytest.raises(ValueError, match="at most"):
        read_shapes({f"{number}": "" for number in range(SHAPES_MAX + 1)})
