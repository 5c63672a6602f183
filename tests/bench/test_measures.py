from pathlib import Path

from headrace.bench.measures import machine, medians, percentile, quantiles


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 0.5) == 3.0
    assert percentile(values, 0.99) == 5.0
    assert percentile([7.0], 0.5) == 7.0


def test_quantiles_go_from_the_least_to_the_largest() -> None:
    assert quantiles([3.0, 1.0, 2.0], parts=2) == [1.0, 2.0, 3.0]
    assert len(quantiles([1.0], parts=100)) == 101


def test_medians_are_taken_of_each_figure_and_of_lists_place_by_place() -> None:
    runs = [
        {"value": 1.0, "curve": [1.0, 9.0], "unit": "ms"},
        {"value": 9.0, "curve": [3.0, 5.0], "unit": "ms"},
        {"value": 2.0, "curve": [2.0, 7.0], "unit": "ms"},
    ]
    assert medians(runs) == {"value": 2.0, "curve": [2.0, 7.0], "unit": "ms"}


def test_the_machine_is_described_with_the_filesystem_of_the_directory(tmp_path: Path) -> None:
    about = machine(tmp_path)
    assert about["filesystem"]
    assert about["cores"] >= 1
