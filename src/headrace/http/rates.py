"""How often may be asked: a bucket of tokens for the requests of a key, one for its jobs.

A request takes a token; a submit of n jobs takes n of the other bucket, in whatever requests they
come. What a bucket lacks is refused with 429 and the time until it will do. A key without limits
has no bucket and costs nothing.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from headrace.runtime.config import RatesConfig
from headrace.wire import limits
from headrace.wire.keys import KeyDocument, RateLimit
from headrace.wire.problems import Problem, ProblemCode

PEERS_MAX: Final = 10_000
"""Addresses with a bucket; with more, those that are full again are forgotten, or else all."""


class Bucket:
    """Tokens of one limit. Kept as the instant at which it will be full again.

    Units: ms of a clock that never goes back.
    """

    __slots__ = ("_full_ms", "_name", "_token_ms", "burst", "per_second")

    def __init__(self, name: str, limit: RateLimit) -> None:
        self._name = name
        self.per_second = limit.per_second
        self.burst = limit.burst or max(1, math.ceil(limit.per_second))
        self._token_ms = 1000 / limit.per_second
        self._full_ms = 0.0

    def lacks_ms(self, tokens: int, now_ms: int) -> float:
        """Return how long it takes until so many may be taken; 0: now.

        More than it holds may be taken when it is full; it is in debt afterwards.
        """
        owed_ms = max(0.0, self._full_ms - now_ms)
        return max(0.0, owed_ms + (min(tokens, self.burst) - self.burst) * self._token_ms)

    def take(self, tokens: int, now_ms: int) -> None:
        """Raises: Problem RATE_LIMITED; then nothing is taken."""
        lacks_ms = self.lacks_ms(tokens, now_ms)
        if lacks_ms > 0:
            raise self._refusal(tokens, lacks_ms, now_ms)
        self._full_ms = max(self._full_ms, now_ms) + tokens * self._token_ms

    def is_full(self, now_ms: int) -> bool:
        return self._full_ms <= now_ms

    def _refusal(self, tokens: int, lacks_ms: float, now_ms: int) -> Problem:
        left = math.floor(self.burst - max(0.0, self._full_ms - now_ms) / self._token_ms)
        return Problem(
            ProblemCode.RATE_LIMITED,
            f"{self.per_second:g} {self._name} a second, {self.burst} at once;"
            f" {tokens} asked for; nothing was applied",
            retry_after_ms=math.ceil(lacks_ms),
            extra={
                "outcome": "not_applied",
                "limit": {
                    "name": self._name,
                    "per_second": self.per_second,
                    "burst": self.burst,
                    "left": max(0, left),
                },
            },
        )


class Rate:
    """The buckets of one key, or one address."""

    __slots__ = ("jobs", "requests")

    def __init__(self, requests: Bucket | None, jobs: Bucket | None) -> None:
        self.requests = requests
        self.jobs = jobs


class Rates:
    """All buckets of one server. In memory only: a restart fills them."""

    def __init__(self, config: RatesConfig) -> None:
        self._config = config
        self.by_key: dict[str, Rate] = {}
        """Of keys that have a limit and came since the start."""
        self._by_peer: dict[str, Rate] = {}
        self.limits_peers = config.open_requests is not None
        """Whether addresses are limited where there are no keys."""
        self._open: dict[str, int] = {}
        """Polls, waits and streams of each key; none: absent."""

    def of_key(self, kept: KeyDocument) -> Rate | None:
        """Return the buckets of a key; what it does not say is as the configuration says."""
        known = self.by_key.get(kept.id)
        if known is None:
            config = self._config
            requests, jobs = kept.requests or config.key_requests, kept.jobs or config.key_jobs
            if requests is None and jobs is None:
                return None
            known = self.by_key[kept.id] = Rate(
                None if requests is None else Bucket("requests", requests),
                None if jobs is None else Bucket("jobs", jobs),
            )
        return known

    def of_peer(self, peer: str, now_ms: int) -> Rate:
        """Return the bucket of an address, where there are no keys."""
        known = self._by_peer.get(peer)
        if known is None:
            if len(self._by_peer) >= PEERS_MAX:
                self._by_peer = {
                    name: rate
                    for name, rate in self._by_peer.items()
                    if rate.requests is not None and not rate.requests.is_full(now_ms)
                }
                if len(self._by_peer) >= PEERS_MAX:
                    self._by_peer.clear()
            limit = self._config.open_requests
            assert limit is not None
            known = self._by_peer[peer] = Rate(Bucket("requests", limit), None)
        return known

    def enter(self, key_id: str) -> None:
        """Count what a key keeps open; in open mode nothing is. Raises: Problem RATE_LIMITED."""
        if not key_id:
            return
        count = self._open.get(key_id, 0)
        if count >= limits.OPEN_PER_KEY_MAX:
            raise Problem(
                ProblemCode.RATE_LIMITED,
                f"this key has {count} polls, waits and streams open; use more keys, or wait less",
                retry_after_ms=1_000,
            )
        self._open[key_id] = count + 1

    def leave(self, key_id: str) -> None:
        if not key_id:
            return
        self._open[key_id] -= 1
        if not self._open[key_id]:
            del self._open[key_id]

    @contextmanager
    def held_open(self, key_id: str) -> Iterator[None]:
        self.enter(key_id)
        try:
            yield
        finally:
            self.leave(key_id)

    def charge(self, key_id: str, jobs: int, now_ms: int) -> None:
        """Take the tokens of jobs. Raises: Problem RATE_LIMITED."""
        rate = self.by_key.get(key_id)
        if rate is not None and rate.jobs is not None:
            rate.jobs.take(jobs, now_ms)
