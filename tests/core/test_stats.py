"""Durations are counted by the batch, and looked back on over a window."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from headrace._native import SPAN_BUCKETS, span_bucket
from headrace.core.stats import SLICE_MS, SLICES, WINDOW_MS, Spans, SpanView, span_bound_ms


def counted(buckets: Counter[int]) -> list[int]:
    return [buckets[bucket] for bucket in range(SPAN_BUCKETS)]


@given(st.integers(0, 2**40))
def test_a_duration_is_within_its_bucket_and_an_eighth_of_its_bound(span_ms: int) -> None:
    bucket = span_bucket(span_ms)
    assert span_ms <= span_bound_ms(bucket)
    assert bucket == 0 or span_ms > span_bound_ms(bucket - 1)
    assert span_bound_ms(bucket) <= max(1, span_ms) * 9 / 8


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_quantiles_are_those_of_a_sorted_list_at_most_an_eighth_too_high(spans: list[int]) -> None:
    found = Spans()
    counts = Counter(map(span_bucket, spans))
    found.add(0, dict(counts), sum(spans))
    view = found.recent(0)
    assert found.whole() == (counted(counts), sum(spans))
    assert view.count == len(spans)
    assert view.average_ms == sum(spans) / len(spans)
    ordered = sorted(spans)
    for part, quantile_ms in ((50, view.p50_ms), (90, view.p90_ms), (99, view.p99_ms)):
        exact_ms = ordered[-(-len(spans) * part // 100) - 1]
        assert exact_ms <= quantile_ms <= max(1, exact_ms) * 9 / 8


def test_what_is_older_than_the_window_is_not_looked_back_on() -> None:
    spans = Spans()
    spans.add_alike(0, 1_000, 9)
    spans.add_alike(SLICE_MS, 10)
    assert spans.recent(WINDOW_MS - 1).count == 10
    assert spans.recent(WINDOW_MS).count == 1
    assert spans.recent(WINDOW_MS + SLICE_MS) == SpanView()
    assert sum(spans.whole()[0]) == 10


def test_a_long_run_keeps_as_many_slices_as_the_window_has() -> None:
    spans = Spans()
    for number in range(1_000):
        spans.add_alike(number * SLICE_MS, number)
    assert spans.recent(999 * SLICE_MS).count == SLICES
    counts, total_ms = spans.whole()
    assert counts == counted(Counter(map(span_bucket, range(1_000))))
    assert total_ms == sum(range(1_000))
