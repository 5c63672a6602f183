import random
from collections.abc import Iterator

import pytest

from headrace.webhooks.contract import Lane
from headrace.webhooks.dispatch import NEVER_MS, Bounds, Dispatcher, Flight, Line, State
from headrace.webhooks.limits import SLOW_MS


class _Dispatchers:
    """Makes dispatchers, and checks their invariants at the end."""

    def __init__(self) -> None:
        self.made: list[Dispatcher] = []

    def __call__(self, **bounds: object) -> Dispatcher:
        self.made.append(Dispatcher(Bounds(**bounds)))
        return self.made[-1]


@pytest.fixture
def make() -> Iterator[_Dispatchers]:
    dispatchers = _Dispatchers()
    yield dispatchers
    for each in dispatchers.made:
        each.check()


def _taken(dispatcher: Dispatcher, now_ms: int = 0) -> Line:
    line = dispatcher.take(now_ms)
    assert line is not None
    return line


def _launched(
    dispatcher: Dispatcher, now_ms: int = 0, message: str = "m", host: str = ""
) -> Flight:
    line = _taken(dispatcher, now_ms)
    return dispatcher.launch(line, message, host or line.endpoint_id, now_ms)


def _succeed(dispatcher: Dispatcher, flight: Flight, took_ms: int = 1) -> None:
    dispatcher.succeeded(flight, took_ms)
    dispatcher.land(flight, done=True)


def _fail(dispatcher: Dispatcher, flight: Flight, now_ms: int = 0, asked_ms: int = 0) -> None:
    dispatcher.failed(flight, now_ms, asked_ms, 0.0)
    dispatcher.land(flight, done=False)


def _rest(dispatcher: Dispatcher, endpoint_id: str) -> None:
    """Have a line looked at, and nothing found."""
    line = _taken(dispatcher)
    assert line.endpoint_id == endpoint_id
    dispatcher.pause(line, NEVER_MS)


def test_what_is_expected_is_taken_and_what_rests_is_not(make: _Dispatchers) -> None:
    dispatcher = make()
    assert dispatcher.take(0) is None
    dispatcher.expect("e", "t")
    dispatcher.expect("e", "t")
    line = _taken(dispatcher)
    assert line.endpoint_id == "e"
    dispatcher.pause(line, NEVER_MS)
    assert dispatcher.take(0) is None
    assert dispatcher.due_ms() == NEVER_MS


def test_a_line_waits_for_its_time_or_for_news(make: _Dispatchers) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    dispatcher.pause(_taken(dispatcher), 5_000)
    assert dispatcher.due_ms() == 5_000
    assert dispatcher.take(4_999) is None
    dispatcher.pause(_taken(dispatcher, 5_000), 9_000)
    dispatcher.expect("e", "t")
    assert _taken(dispatcher, 5_000).endpoint_id == "e"


def test_an_endpoint_that_fails_has_one_request_out_and_waits_longer_each_time(
    make: _Dispatchers,
) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    now_ms, waits = 0, []
    for _ in range(5):
        flight = _launched(dispatcher, now_ms)
        dispatcher.expect("e", "t")
        assert dispatcher.take(now_ms) is None, "one at a time"
        _fail(dispatcher, flight, now_ms)
        waits.append(dispatcher.due_ms() - now_ms)
        dispatcher.expect("e", "t")
        assert dispatcher.take(dispatcher.due_ms() - 1) is None, "news do not shorten the wait"
        now_ms = dispatcher.due_ms()
    assert waits == [5_000, 15_000, 60_000, 300_000, 300_000]


def test_an_endpoint_is_left_alone_for_as_long_as_it_asks(make: _Dispatchers) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    _fail(dispatcher, _launched(dispatcher), asked_ms=3_600_000)
    assert dispatcher.due_ms() == 3_600_000


def test_an_endpoint_that_answers_gets_more_at_once_by_and_by(make: _Dispatchers) -> None:
    dispatcher = make(endpoint_flights=4)
    dispatcher.expect("e", "t")
    flights, widths = [], []
    for turn in range(4):
        while (line := dispatcher.take(0)) is not None:
            flights.append(dispatcher.launch(line, f"{turn}.{len(flights)}", "h", 0))
        widths.append(len(flights))
        for flight in flights:
            _succeed(dispatcher, flight)
        flights.clear()
    assert widths == [1, 2, 4, 4]


def test_a_failure_narrows_an_endpoint_to_one_and_counts_once_for_all_that_were_out(
    make: _Dispatchers,
) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    _succeed(dispatcher, _launched(dispatcher))
    dispatcher.expect("e", "t")
    _succeed(dispatcher, _launched(dispatcher))
    dispatcher.expect("e", "t")
    flights = [_launched(dispatcher, message=str(number)) for number in range(4)]
    for flight in flights:
        _fail(dispatcher, flight)
    line = flights[0].line
    assert (line.failures, line.window, line.lane) == (1, 1, Lane.SICK)
    assert dispatcher.take(4_999) is None
    _launched(dispatcher, 5_000)
    assert dispatcher.take(5_000) is None


def test_a_success_beside_failures_ends_the_wait(make: _Dispatchers) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    _succeed(dispatcher, _launched(dispatcher))
    dispatcher.expect("e", "t")
    bad, good = _launched(dispatcher, message="1"), _launched(dispatcher, message="2")
    _fail(dispatcher, bad)
    _succeed(dispatcher, good)
    assert _taken(dispatcher).lane is Lane.QUICK


def test_ten_thousand_dead_endpoints_take_no_place_of_a_healthy_one(make: _Dispatchers) -> None:
    dispatcher = make()
    dispatcher.expect("healthy", "t")
    _succeed(dispatcher, _launched(dispatcher))
    _rest(dispatcher, "healthy")
    for number in range(10_000):
        dispatcher.expect(f"dead{number}", "t")
    hanging = 0
    while (line := dispatcher.take(hanging)) is not None:
        dispatcher.launch(line, "m", line.endpoint_id, 0)
        hanging += 1
    assert hanging == Bounds().young[Lane.NEW]
    for message in range(1_000):
        dispatcher.expect("healthy", "t")
        _succeed(dispatcher, _launched(dispatcher, message=str(message)))
        _rest(dispatcher, "healthy")


def test_a_slow_endpoint_stands_with_the_slow_and_a_quick_answer_brings_it_back(
    make: _Dispatchers,
) -> None:
    dispatcher = make()
    for took_ms, lane in ((SLOW_MS + 1, Lane.SLOW), (SLOW_MS, Lane.QUICK)):
        dispatcher.expect("e", "t")
        flight = _launched(dispatcher)
        _succeed(dispatcher, flight, took_ms)
        assert flight.line.lane is lane


def test_one_that_failed_before_the_start_stands_with_the_sick(make: _Dispatchers) -> None:
    dispatcher = make()
    dispatcher.expect("e", "t")
    dispatcher.demote(_taken(dispatcher))
    assert _taken(dispatcher).lane is Lane.SICK


def test_tenants_take_turns_whatever_their_number_of_endpoints(make: _Dispatchers) -> None:
    dispatcher = make(young=(1, 4, 1, 1))
    for number in range(100):
        dispatcher.expect(f"a{number}", "a")
    for number in range(2):
        dispatcher.expect(f"b{number}", "b")
    order = [_launched(dispatcher).line.endpoint_id for _ in range(4)]
    assert order == ["a0", "b0", "a1", "b1"]


def test_a_request_that_hangs_gives_up_its_place_after_a_while(make: _Dispatchers) -> None:
    dispatcher = make(young=(1, 1, 1, 1), old=(1, 1, 1, 1))
    for name in "abc":
        dispatcher.expect(name, "t")
    hanging = [_launched(dispatcher, 0)]
    assert dispatcher.take(0) is None
    assert dispatcher.due_ms() == SLOW_MS
    assert dispatcher.take(SLOW_MS - 1) is None
    hanging.append(_launched(dispatcher, SLOW_MS))
    assert dispatcher.due_ms() == NEVER_MS, "no more of the old ones fit"
    assert dispatcher.take(10 * SLOW_MS) is None
    _fail(dispatcher, hanging[0], 10 * SLOW_MS)
    _launched(dispatcher, 10 * SLOW_MS)


def test_a_host_gets_a_bounded_number_at_once_and_those_held_back_take_turns(
    make: _Dispatchers,
) -> None:
    dispatcher = make(host_flights=2)
    for name in "abcde":
        dispatcher.expect(name, "t")
    flights = [_launched(dispatcher, host="h") for _ in "ab"]
    for _ in "cde":
        assert dispatcher.hold(_taken(dispatcher), "h")
    assert dispatcher.take(0) is None
    _succeed(dispatcher, flights[0])
    _rest(dispatcher, "a")
    line = _taken(dispatcher)
    assert line.endpoint_id == "c"
    assert not dispatcher.hold(line, "h")
    dispatcher.launch(line, "m", "h", 0)
    assert dispatcher.take(0) is None


def test_what_hangs_on_a_host_holds_up_no_other_tenant_and_no_healthy_endpoint_there(
    make: _Dispatchers,
) -> None:
    dispatcher = make(host_flights=1)
    dispatcher.expect("healthy", "a")
    _succeed(dispatcher, _launched(dispatcher, host="h"))
    _rest(dispatcher, "healthy")
    dispatcher.expect("hangs", "a")
    _launched(dispatcher, host="h")
    for endpoint, tenant in (("healthy", "a"), ("new", "b")):
        dispatcher.expect(endpoint, tenant)
        line = _taken(dispatcher)
        assert line.endpoint_id == endpoint
        assert not dispatcher.hold(line, "h")
        dispatcher.launch(line, "m", "h", 0, alone=True)
    dispatcher.expect("waits", "a")
    assert dispatcher.hold(_taken(dispatcher), "h")


def test_a_kept_place_that_is_not_used_goes_to_the_next(make: _Dispatchers) -> None:
    dispatcher = make(host_flights=1)
    for name in "abcd":
        dispatcher.expect(name, "t")
    flight = _launched(dispatcher, host="h")
    for _ in "bcd":
        dispatcher.hold(_taken(dispatcher), "h")
    _succeed(dispatcher, flight)
    _rest(dispatcher, "a")
    _rest(dispatcher, "b")
    line = _taken(dispatcher)
    assert line.endpoint_id == "c"
    dispatcher.launch(line, "m", "another host", 0)
    assert _taken(dispatcher).endpoint_id == "d"


def test_idle_lines_are_forgotten_beyond_a_bound_the_oldest_first(make: _Dispatchers) -> None:
    dispatcher = make(lines=2)
    for name in "abc":
        dispatcher.expect(name, "t")
        _succeed(dispatcher, _launched(dispatcher))
        while (line := dispatcher.take(0)) is not None:
            dispatcher.pause(line, NEVER_MS)
    assert len(dispatcher) == 2
    assert dispatcher.find("a") is None
    assert dispatcher.find("c") is not None


def test_timers_that_were_overtaken_do_not_pile_up(make: _Dispatchers) -> None:
    dispatcher = make()
    for _ in range(10_000):
        dispatcher.expect("e", "t")
        dispatcher.pause(_taken(dispatcher), 1 << 40)
    assert len(dispatcher._timers) < 100


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_invariants_hold_and_nobody_is_left_behind(seed: int) -> None:
    """Random endpoints on few hosts; at the end, all that was pending is delivered."""
    chance = random.Random(seed)
    dispatcher = Dispatcher(
        Bounds(young=(2, 2, 1, 1), old=(1, 0, 2, 1), endpoint_flights=3, host_flights=2, lines=3)
    )
    pending: dict[str, set[str]] = {}
    out: list[Flight] = []
    now_ms = 0
    count = 0

    def look(line: Line) -> None:
        waiting = sorted(pending.get(line.endpoint_id, set()) - line.flights.keys())
        host = f"h{int(line.endpoint_id[1:]) % 3}"
        if not waiting:
            dispatcher.pause(line, NEVER_MS)
        elif line.lane is Lane.NEW and chance.random() < 0.2:
            dispatcher.demote(line)
        elif chance.random() < 0.2:
            dispatcher.pause(line, now_ms + chance.randrange(10_000))
        elif not dispatcher.hold(line, host):
            alone = chance.random() < 0.1
            out.append(dispatcher.launch(line, waiting[0], host, now_ms, alone=alone))

    def land(success: float) -> None:
        flight = out.pop(chance.randrange(len(out)))
        if chance.random() < success:
            dispatcher.succeeded(flight, chance.randrange(2 * SLOW_MS))
            pending[flight.line.endpoint_id].discard(flight.message_id)
            dispatcher.land(flight, done=True)
        elif chance.random() < 0.9:
            dispatcher.failed(flight, now_ms, 0, chance.random())
            dispatcher.land(flight, done=False)
        else:
            dispatcher.land(flight, done=False)

    for _ in range(600):
        match chance.randrange(4):
            case 0:
                endpoint = f"e{chance.randrange(12)}"
                count += 1
                pending.setdefault(endpoint, set()).add(f"m{count}")
                dispatcher.expect(endpoint, f"t{int(endpoint[1:]) % 2}")
            case 1 if out:
                land(success=0.5)
            case 2:
                now_ms += chance.randrange(3_000)
            case _:
                line = dispatcher.take(now_ms)
                if line is not None:
                    look(line)
        dispatcher.check()

    for _ in range(20_000):
        if not any(pending.values()):
            break
        line = dispatcher.take(now_ms)
        if line is not None:
            look(line)
        elif out:
            land(success=1.0)
        else:
            assert dispatcher.due_ms() < NEVER_MS, "somebody waits, and nobody will come"
            now_ms = max(now_ms, dispatcher.due_ms())
    assert not any(pending.values())
    while out:
        land(success=1.0)
    dispatcher.check()
    assert all(
        line.state in (State.IDLE, State.WAITING, State.READY)
        for line in dispatcher._lines.values()
    )
