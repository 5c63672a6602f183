import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.wire.sizes import size_bytes, size_text


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        ("0", 0),
        ("1B", 1),
        ("1KiB", 1024),
        ("512Mi", 512 << 20),
        ("1 GiB", 1 << 30),
        ("1.5GiB", 3 << 29),
        ("1gb", 10**9),
        (" 2TB ", 2 * 10**12),
    ],
)
def test_a_size_is_a_number_with_a_unit(value: int | str, size: int) -> None:
    assert size_bytes(value) == size


@pytest.mark.parametrize(
    "value", [1024, "1024", 1.5, "", "MiB", "-1MiB", "1 PiB", "1m", "1e3MB", "1MiB 2KiB", True]
)
def test_what_can_be_misread_is_refused(value: float | str) -> None:
    with pytest.raises(ValueError, match="a number and a unit"):
        size_bytes(value)


@given(st.integers(0, 10**12 - 1))
def test_a_size_shown_reads_as_itself(size: int) -> None:
    assert size_bytes(size_text(size)) == size
