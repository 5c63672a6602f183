"""Codes that server and worker give alike."""

from headrace.wire.outcomes import result_too_large


def test_a_result_that_is_too_large_is_told_with_both_numbers() -> None:
    said = result_too_large(2_000, 1_024)
    assert "2000 bytes" in said
    assert "1024 are allowed" in said
