"""The match index finds exactly what a linear scan over all jobs finds."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace._native import MatchIndex
from headrace._native.reference import MatchIndex as MatchIndexTwin
from headrace._native.reference import Need
from headrace._native.reference_heap import KEY_MAX

EITHER = pytest.mark.parametrize("make", [MatchIndex, MatchIndexTwin], ids=["native", "twin"])
Index = MatchIndex | MatchIndexTwin
NONE: frozenset[int] = frozenset()

amounts = st.integers(0, 5) | st.sampled_from([1_000, 2**31 - 1])
needs = st.tuples(amounts, amounts, amounts, amounts)
frees = st.tuples(*[amounts | st.sampled_from([-1, 2**31, 2**40])] * 4)
# Numbers 32 and 31 apart share a bit of the masks.
kinds = st.sampled_from([0, 1, 2, 32, 33])
gpu_models = st.frozensets(st.sampled_from([0, 1, 31, 32]), max_size=2)
TENANTS = (1 << 31, 1 + (1 << 31), 8 + (1 << 31))
labels = st.frozensets(st.sampled_from([0, 1, 32, 64]), max_size=2)
queues = st.integers(0, 3)
keys = st.integers(0, 6) | st.sampled_from([KEY_MAX - 1, KEY_MAX])
handles = st.integers(0, 40)
gate_limits = st.sampled_from([-1, 0, 1, 2, 3])
gate_amounts = st.sampled_from([-1, -1, 0, 2, 6, 2_000, 2**40])
gate_mosts = st.tuples(gate_amounts, gate_amounts, gate_amounts, gate_amounts)


@EITHER
def test_a_place_in_line_is_exact_while_nobody_leaves_its_middle(make: type[Index]) -> None:
    index = make()
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    with pytest.raises(KeyError):
        index.class_head(cls)
    for handle in range(1_000):
        index.push(cls, handle, handle // 2)
    index.push(cls, 2_000, 7)
    assert index.class_head(cls) == 0
    assert index.ahead(cls, 0, 0) == (0, 0)
    assert index.ahead(cls, 250, 501) == (502, 502)
    assert index.ahead(cls, 7, 2_000) == (16, 16)


class MatchMachine(RuleBasedStateMachine):
    """Every operation on the index and on its twin, with equal answers."""

    def __init__(self) -> None:
        super().__init__()
        self.native = MatchIndex()
        self.twin = MatchIndexTwin()
        self.classes: list[int] = []
        self.shapes: list[int] = []
        self.gates: list[int] = []

    @precondition(lambda self: len(self.gates) < 4)
    @rule()
    def gate_add(self) -> None:
        gate = self.native.gate_add()
        assert gate == self.twin.gate_add()
        self.gates.append(gate)

    @precondition(lambda self: self.gates)
    @rule(data=st.data(), capacity=gate_limits, tokens=gate_limits, most=gate_mosts)
    def gate_set(self, data: st.DataObject, capacity: int, tokens: int, most: Need) -> None:
        gate = data.draw(st.sampled_from(self.gates))
        self.native.gate_set(gate, capacity, tokens, most)
        self.twin.gate_set(gate, capacity, tokens, most)

    @precondition(lambda self: self.gates)
    @rule(data=st.data(), tokens=gate_limits)
    def gate_tokens_set(self, data: st.DataObject, tokens: int) -> None:
        gate = data.draw(st.sampled_from(self.gates))
        self.native.gate_tokens_set(gate, tokens)
        self.twin.gate_tokens_set(gate, tokens)

    @precondition(lambda self: self.gates)
    @rule(data=st.data())
    def gate_drop(self, data: st.DataObject) -> None:
        gate = data.draw(st.sampled_from(self.gates))
        try:
            self.twin.gate_drop(gate)
        except AssertionError:
            with pytest.raises(AssertionError):
                self.native.gate_drop(gate)
            return
        self.native.gate_drop(gate)
        self.gates.remove(gate)

    @precondition(lambda self: self.classes and self.gates)
    @rule(data=st.data())
    def class_gates_set(self, data: st.DataObject) -> None:
        cls = data.draw(st.sampled_from(self.classes))
        gates = data.draw(st.frozensets(st.sampled_from(self.gates)))
        self.native.class_gates_set(cls, gates)
        self.twin.class_gates_set(cls, gates)

    @rule(
        queue=queues,
        capacity=st.sampled_from([-1, 0, 1, 2]),
        paused=st.sampled_from([False, False, True]),
    )
    def set_queue(self, queue: int, capacity: int, paused: bool) -> None:
        self.native.set_queue(queue, capacity, paused)
        self.twin.set_queue(queue, capacity, paused)

    @rule(
        queue=queues,
        kind=kinds,
        need=needs,
        gpus=gpu_models,
        tags=labels,
        tenant=st.none() | st.sampled_from(TENANTS),
        data=st.data(),
    )
    def class_add(
        self,
        queue: int,
        kind: int,
        need: Need,
        gpus: frozenset[int],
        tags: frozenset[int],
        tenant: int | None,
        data: st.DataObject,
    ) -> None:
        if tenant is not None:
            tags |= {tenant}
        gates = data.draw(st.frozensets(st.sampled_from(self.gates))) if self.gates else NONE
        cls = self.native.class_add(queue, kind, need, gpus, tags, gates)
        assert cls == self.twin.class_add(queue, kind, need, gpus, tags, gates)
        self.classes.append(cls)

    @rule(
        some=st.frozensets(kinds, max_size=3) | st.none(),
        served=st.frozensets(st.integers(0, 5), max_size=3) | st.none(),
        gpu=st.sampled_from([-1, 0, 1, 31, 32, 62]),
        tags=st.frozensets(st.sampled_from([0, 1, 24, 32, 64, *TENANTS]), max_size=4),
        any_tenant=st.booleans(),
    )
    def shape_add(
        self,
        some: frozenset[int] | None,
        served: frozenset[int] | None,
        gpu: int,
        tags: frozenset[int],
        any_tenant: bool,
    ) -> None:
        shape = self.native.shape_add(some, served, gpu, tags, any_tenant)
        assert shape == self.twin.shape_add(some, served, gpu, tags, any_tenant)
        self.shapes.append(shape)

    @precondition(lambda self: self.shapes)
    @rule(data=st.data())
    def shape_drop(self, data: st.DataObject) -> None:
        shape = data.draw(st.sampled_from(self.shapes))
        self.shapes.remove(shape)
        self.native.shape_drop(shape)
        self.twin.shape_drop(shape)

    @precondition(lambda self: self.classes)
    @rule(data=st.data())
    def class_drop(self, data: st.DataObject) -> None:
        cls = data.draw(st.sampled_from(self.classes))
        try:
            self.twin.class_drop(cls)
        except AssertionError:
            with pytest.raises(AssertionError):
                self.native.class_drop(cls)
            return
        self.native.class_drop(cls)
        self.classes.remove(cls)

    @precondition(lambda self: self.classes)
    @rule(data=st.data(), handle=handles, key=keys)
    def push(self, data: st.DataObject, handle: int, key: int) -> None:
        cls = data.draw(st.sampled_from(self.classes))
        if handle in self.twin:
            with pytest.raises(KeyError):
                self.native.push(cls, handle, key)
            return
        self.twin.push(cls, handle, key)
        self.native.push(cls, handle, key)

    @precondition(lambda self: self.classes)
    @rule(data=st.data(), many=st.lists(handles, max_size=8), key=st.integers(0, 6))
    def push_alike(self, data: st.DataObject, many: list[int], key: int) -> None:
        step = data.draw(st.integers(0, 3))
        cls = data.draw(st.sampled_from(self.classes))
        told = []
        for index in (self.native, self.twin):
            try:
                told.append(index.push_alike(cls, many, key, step))
            except KeyError:
                told.append(KeyError)
        assert told[0] == told[1]

    @rule(handle=handles)
    def remove(self, handle: int) -> None:
        assert self.native.remove(handle) == self.twin.remove(handle)

    @precondition(lambda self: self.shapes)
    @rule(data=st.data(), free=frees)
    def take(self, data: st.DataObject, free: Need) -> None:
        shape = data.draw(st.sampled_from(self.shapes))
        assert self.native.peek(shape, *free) == self.twin.peek(shape, *free)
        assert self.native.take(shape, *free) == self.twin.take(shape, *free)

    @precondition(lambda self: self.shapes)
    @rule(data=st.data(), free=frees, jobs_max=st.integers(-1, 5))
    def take_many(self, data: st.DataObject, free: Need, jobs_max: int) -> None:
        shape = data.draw(st.sampled_from(self.shapes))
        taken = self.native.take_many(shape, free, jobs_max)
        assert taken == self.twin.take_many(shape, free, jobs_max)

    @precondition(lambda self: self.classes)
    @rule(data=st.data(), lease=st.booleans())
    def lease_or_release(self, data: st.DataObject, lease: bool) -> None:
        cls = data.draw(st.sampled_from(self.classes))
        if lease:
            self.native.lease(cls)
            self.twin.lease(cls)
            return
        try:
            self.twin.release(cls)
        except AssertionError:
            with pytest.raises(AssertionError):
                self.native.release(cls)
        else:
            self.native.release(cls)

    @precondition(lambda self: self.classes and self.shapes)
    @rule(data=st.data(), free=frees)
    def fits(self, data: st.DataObject, free: Need) -> None:
        cls = data.draw(st.sampled_from(self.classes))
        shape = data.draw(st.sampled_from(self.shapes))
        assert self.native.fits(cls, shape, *free) == self.twin.fits(cls, shape, *free)
        assert self.native.runnable(cls) == self.twin.runnable(cls)
        assert self.native.class_info(cls) == self.twin.class_info(cls)
        for gate in self.gates:
            assert self.native.gate_holds(gate, cls) == self.twin.gate_holds(gate, cls)

    @rule(handle=handles)
    def look(self, handle: int) -> None:
        assert (handle in self.native) == (handle in self.twin)
        if handle in self.twin:
            assert self.native.class_of(handle) == self.twin.class_of(handle)
            key = self.native.key(handle)
            assert key == self.twin.key(handle)
            for cls in self.classes:
                least, most = self.native.ahead(cls, key, handle)
                exact, _ = self.twin.ahead(cls, key, handle)
                assert least <= exact <= most <= self.twin.class_len(cls)

    @invariant()
    def agree(self) -> None:
        self.native.check()
        assert len(self.native) == len(self.twin)
        assert self.native.classes() == self.twin.classes()
        for queue in range(4):
            assert self.native.queue_leases(queue) == self.twin.queue_leases(queue)
        for cls in self.classes:
            assert self.native.class_len(cls) == self.twin.class_len(cls)
            if self.twin.class_len(cls):
                assert self.native.class_head(cls) == self.twin.class_head(cls)
            assert self.native.class_gates(cls) == self.twin.class_gates(cls)
        for gate in self.gates:
            assert self.native.gate_leases(gate) == self.twin.gate_leases(gate)
            assert self.native.gate_tokens(gate) == self.twin.gate_tokens(gate)
            assert self.native.gate_used(gate) == self.twin.gate_used(gate)


TestMatchMachine = MatchMachine.TestCase
TestMatchMachine.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def random_need(random_: random.Random) -> Need:
    return (
        random_.choice([0, 100, 500, 1_000, 4_000, random_.randrange(8_000)]),
        random_.choice([128, 1_024, random_.randrange(65_536)]),
        random_.choice([0, 0, random_.randrange(1_000_000)]),
        random_.choice([0, 0, 0, 1_000, 4_000]),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("related", ["random", "largest first"])
def test_many_classes_give_the_answers_of_a_scan(seed: int, related: str) -> None:
    random_ = random.Random(seed)
    native, twin = MatchIndex(), MatchIndexTwin()
    shapes = []
    for _ in range(6):
        shape = (
            random_.choice([None, frozenset(random_.sample(range(40), 6))]),
            random_.choice([None, frozenset(random_.sample(range(5), 3))]),
            random_.choice([-1, 0, 1, 31]),
            frozenset(random_.sample(range(40), 8)),
        )
        shapes.append(native.shape_add(*shape))
        assert shapes[-1] == twin.shape_add(*shape)
    live: list[int] = []
    leased: list[int] = []
    gates = [native.gate_add() for _ in range(5)]
    assert gates == [twin.gate_add() for _ in gates]
    for step in range(700):
        if random_.random() < (0.75 if step < 450 else 0.1):
            need = random_need(random_)
            gpus = frozenset(random_.sample(range(40), random_.choice([0, 0, 1, 3])))
            tags = frozenset(random_.sample(range(40), random_.choice([0, 0, 0, 1, 2])))
            some = frozenset(random_.sample(gates, random_.choice([0, 0, 1, 2])))
            row = (random_.randrange(5), random_.randrange(40), need, gpus, tags, some)
            cls = native.class_add(*row)
            assert cls == twin.class_add(*row)
            live.append(cls)
            for _ in range(random_.choice([0, 1, 1, 2])):
                handle = random_.randrange(5_000)
                key = random_.randrange(1_000)
                if related == "largest first":
                    key = 10_000_000 - sum(need)
                if handle not in twin:
                    native.push(cls, handle, key)
                    twin.push(cls, handle, key)
        elif random_.random() < 0.5 and live:
            cls = live.pop(random_.randrange(len(live)))
            for handle in [h for h in range(5_000) if h in native and native.class_of(h) == cls]:
                assert native.remove(handle)
                assert twin.remove(handle)
            while cls in leased:
                leased.remove(cls)
                native.release(cls)
                twin.release(cls)
            native.class_drop(cls)
            twin.class_drop(cls)
        elif random_.random() < 0.2:
            state = (random_.randrange(5), random_.choice([-1, -1, 3]), random_.random() < 0.2)
            native.set_queue(*state)
            twin.set_queue(*state)
        elif random_.random() < 0.2:
            most = (random_.choice([-1, 5_000]), random_.choice([-1, 70_000]), -1, -1)
            gate = (random_.choice(gates), random_.choice([-1, 2]), random_.choice([-1, 3]), most)
            native.gate_set(*gate)
            twin.gate_set(*gate)
        elif random_.random() < 0.3 and live:
            cls = random_.choice(live)
            some = frozenset(random_.sample(gates, random_.choice([0, 1, 2])))
            native.class_gates_set(cls, some)
            twin.class_gates_set(cls, some)
        else:
            served = random_.choice(shapes)
            free = random_need(random_)
            jobs = {handle: native.class_of(handle) for handle in range(5_000) if handle in native}
            taken = native.take_many(served, free, 3)
            assert taken == twin.take_many(served, free, 3)
            leased += [jobs[handle] for handle in taken]
        if step % 10 == 0:
            native.check()
    for cls in list(live):
        for handle in [h for h in range(5_000) if h in native and native.class_of(h) == cls]:
            native.remove(handle)
        while cls in leased:
            leased.remove(cls)
            native.release(cls)
        native.class_drop(cls)
        native.check()
    assert native.classes() == []
    assert len(native) == 0


@pytest.mark.parametrize("traits", ["one kind", "many kinds"])
@pytest.mark.parametrize("offers", ["of all sizes", "of one size"])
def test_thousands_of_classes_give_the_answers_of_a_scan_while_they_come_and_go(
    traits: str, offers: str
) -> None:
    random_ = random.Random(f"{traits}, {offers}")
    native, twin = MatchIndex(), MatchIndexTwin()
    shapes = []
    for number in range(4):
        some = frozenset(range(number, 40, 3))
        shape = (None, None, -1, NONE) if traits == "one kind" else (some, None, number, some)
        shapes.append(native.shape_add(*shape))
        assert shapes[-1] == twin.shape_add(*shape)
    live: list[int] = []
    job_of: dict[int, int] = {}
    for step in range(8_000):
        if random_.random() < (0.95 if step < 3_000 else 0.1):
            kind, gpus, tags, need = 0, NONE, NONE, random_need(random_)
            if traits == "many kinds":
                kind = random_.randrange(40)
                gpus = frozenset(random_.sample(range(4), random_.choice([0, 0, 1, 2])))
                tags = frozenset(random_.sample(range(40), random_.choice([0, 0, 0, 1])))
            cls = native.class_add(0, kind, need, gpus, tags)
            assert cls == twin.class_add(0, kind, need, gpus, tags)
            live.append(cls)
            if random_.random() < 0.9:
                job_of[cls], key = step, random_.randrange(1_000_000)
                native.push(cls, step, key)
                twin.push(cls, step, key)
        elif live:
            at = random_.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            cls = live.pop()
            if cls in job_of:
                handle = job_of.pop(cls)
                assert native.remove(handle)
                assert twin.remove(handle)
            native.class_drop(cls)
            twin.class_drop(cls)
        if step % 20 == 0:
            served = random_.choice(shapes)
            free = random_need(random_) if offers == "of all sizes" else (4_000, 16_384, 0, 0)
            assert native.peek(served, *free) == twin.peek(served, *free)
        if step % 500 == 0:
            native.check()
    assert native.classes() == sorted(live) == []


@EITHER
def test_jobs_pushed_together_stand_as_those_pushed_one_by_one(make: type[Index]) -> None:
    index = make()
    classes = [index.class_add(0, 0, (n, 0, 0, 0), NONE, NONE) for n in range(3)]
    rows = [(classes[n * 5 % 3], n * 7_919 % 1_000) for n in range(200)]
    numbers, keys = zip(*rows, strict=True)

    index.push_many(array("I", numbers).tobytes(), 40, array("Q", keys).tobytes())
    index.push_many(b"", 7, b"")

    assert len(index) == len(rows)
    assert [(index.class_of(40 + n), index.key(40 + n)) for n in range(200)] == rows
    index.check()


@EITHER
@pytest.mark.parametrize(
    ("classes", "keys", "error"),
    [
        (bytes(3), bytes(8), ValueError),
        (bytes(4), bytes(7), ValueError),
        (bytes(8), bytes(8), ValueError),
        (b"\xff" * 4, bytes(8), IndexError),
        (bytes(8), bytes(16), KeyError),
    ],
)
def test_jobs_pushed_together_are_refused_as_one_alone(
    make: type[Index], classes: bytes, keys: bytes, error: type[Exception]
) -> None:
    index = make()
    index.push(index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE), 6, 1)

    with pytest.raises(error):
        index.push_many(classes, 5, keys)

    index.check()


@EITHER
def test_equal_keys_go_by_handle_across_classes_and_queues(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    for queue in range(4):
        cls = index.class_add(queue, 0, (1, 0, 0, 0), NONE, NONE)
        index.push(cls, 9 - queue, 5)

    taken = index.take_many(shape, (10, 0, 0, 0), 10)

    assert taken == [6, 7, 8, 9]


@EITHER
def test_a_full_queue_gives_way_until_a_lease_is_released(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    first = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    second = index.class_add(1, 0, (0, 0, 0, 0), NONE, NONE)
    index.set_queue(0, 1, False)
    for handle in range(3):
        index.push(first, handle, handle)
    index.push(second, 3, 3)

    taken = [index.take(shape, 0, 0, 0, 0) for _ in range(3)]
    index.release(first)
    taken.append(index.take(shape, 0, 0, 0, 0))

    assert taken == [0, 3, -1, 1]
    assert index.queue_leases(0) == 1


@EITHER
def test_a_gate_closes_for_all_its_classes_until_a_lease_is_released(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    gate = index.gate_add()
    index.gate_set(gate, 1, -1, (-1, -1, -1, -1))
    classes = [
        index.class_add(queue, 0, (0, 0, 0, 0), NONE, NONE, frozenset({gate})) for queue in (0, 1)
    ]
    free = index.class_add(1, 0, (0, 0, 0, 0), NONE, NONE)
    for handle, cls in enumerate((*classes, free)):
        index.push(cls, handle, handle)

    taken = [index.take(shape, 0, 0, 0, 0) for _ in range(3)]
    index.release(classes[0])
    taken.append(index.take(shape, 0, 0, 0, 0))

    assert taken == [0, 2, -1, 1]
    assert index.gate_leases(gate) == 1
    index.check()


@EITHER
def test_a_gate_without_tokens_lets_nothing_through(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    gate = index.gate_add()
    index.gate_set(gate, -1, 2, (-1, -1, -1, -1))
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE, frozenset({gate}))
    for handle in range(4):
        index.push(cls, handle, handle)

    taken = [index.take_many(shape, (0, 0, 0, 0), 9)]
    index.release(cls, 2)
    taken.append(index.take_many(shape, (0, 0, 0, 0), 9))
    index.gate_tokens_set(gate, 1)
    taken.append(index.take_many(shape, (0, 0, 0, 0), 9))

    assert taken == [[0, 1], [], [2]]


@EITHER
def test_a_gate_of_resources_passes_over_what_is_too_large_for_the_rest(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    gate = index.gate_add()
    index.gate_set(gate, -1, -1, (-1, 10, -1, 0))
    gates = frozenset({gate})
    needs_of = [(1, 6, 0, 0), (1, 5, 0, 0), (9, 4, 0, 0), (1, 0, 0, 1), (9, 0, 9, 0)]
    classes = [index.class_add(0, 0, need, NONE, NONE, gates) for need in needs_of]
    for handle, cls in enumerate(classes):
        index.push(cls, handle, handle)

    taken = index.take_many(shape, (1_000, 1_000, 1_000, 1_000), 9)

    assert taken == [0, 2, 4]
    assert index.gate_used(gate) == (19, 10, 9, 0)
    assert [index.gate_holds(gate, cls) for cls in classes] == [True, True, True, True, False]


@EITHER
def test_a_class_that_gets_a_gate_later_counts_there_with_its_leases(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    cls = index.class_add(0, 0, (2, 0, 0, 0), NONE, NONE)
    for handle in range(3):
        index.push(cls, handle, handle)
    index.take(shape, 9, 0, 0, 0)
    gate = index.gate_add()
    index.gate_set(gate, 1, -1, (-1, -1, -1, -1))

    index.class_gates_set(cls, frozenset({gate}))
    held = index.take(shape, 9, 0, 0, 0)
    counted = index.gate_leases(gate), index.gate_used(gate)
    index.class_gates_set(cls, NONE)

    assert held == -1
    assert counted == (1, (2, 0, 0, 0))
    assert index.gate_leases(gate) == 0
    assert index.take(shape, 9, 0, 0, 0) == 1
    index.gate_drop(gate)
    index.check()


@EITHER
def test_a_paused_queue_keeps_its_jobs(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, frozenset({0}), -1, NONE)
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    index.push(cls, 0, 0)
    index.set_queue(0, -1, True)

    taken = index.take(shape, 0, 0, 0, 0)

    assert taken == -1
    assert 0 in index
    assert index.fits(cls, shape, 0, 0, 0, 0)
    assert not index.runnable(cls)


@EITHER
def test_take_many_stops_when_the_free_amounts_are_spent(make: type[Index]) -> None:
    index = make()
    shape = index.shape_add(None, None, -1, NONE)
    large = index.class_add(0, 0, (3, 0, 0, 0), NONE, NONE)
    small = index.class_add(0, 0, (1, 0, 0, 0), NONE, NONE)
    for handle in range(4):
        index.push(large, handle, handle)
        index.push(small, handle + 4, handle + 4)

    taken = index.take_many(shape, (8, 0, 0, 0), 10)

    assert taken == [0, 1, 4, 5]


@EITHER
def test_a_worker_without_a_gpu_runs_only_jobs_that_name_none(make: type[Index]) -> None:
    index = make()
    plain = index.shape_add(None, None, -1, NONE)
    model = index.shape_add(None, None, 31, NONE)
    cls = index.class_add(0, 0, (0, 0, 0, 0), frozenset({0, 31}), NONE)
    other = index.class_add(0, 0, (0, 0, 0, 0), frozenset({62}), NONE)
    index.push(other, 0, 0)
    index.push(cls, 1, 1)

    answers = [index.peek(plain, 0, 0, 0, 0), index.peek(model, 0, 0, 0, 0)]

    assert answers == [-1, 1]


@EITHER
def test_bad_arguments_are_refused_and_change_nothing(make: type[Index]) -> None:
    index = make()
    cls = index.class_add(0, 0, (0, 0, 0, 0), NONE, NONE)
    shape = index.shape_add(None, None, -1, NONE)
    index.push(cls, 7, 1)

    with pytest.raises(KeyError):
        index.push(cls, 7, 1)
    with pytest.raises(IndexError):
        index.push(cls + 1, 8, 1)
    with pytest.raises(IndexError):
        index.take(shape + 1, 0, 0, 0, 0)
    with pytest.raises(IndexError):
        index.class_drop(-1)
    with pytest.raises(OverflowError):
        index.push(cls, 8, 2**64)
    with pytest.raises(OverflowError):
        index.push(cls, 2**32 - 1, 1)
    with pytest.raises(ValueError, match="amounts"):
        index.class_add(0, 0, (2**31, 0, 0, 0), NONE, NONE)
    with pytest.raises(ValueError, match="queue"):
        index.class_add(-1, 0, (0, 0, 0, 0), NONE, NONE)
    with pytest.raises(ValueError, match="capacity"):
        index.set_queue(0, -2, False)
    with pytest.raises(AssertionError):
        index.class_drop(cls)
    with pytest.raises(AssertionError):
        index.release(cls)
    with pytest.raises(KeyError):
        index.class_of(8)

    index.check()
    assert len(index) == 1
    assert index.classes() == [cls]
