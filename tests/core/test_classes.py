"""Interned requirements, profiles and names."""

from engine_rig import needs
from msgspec.structs import replace

from headrace._native import MatchIndex
from headrace.core.classes import WASM_LABEL, ClassTable, Names
from headrace.core.effects import ClassDropped, ClassStored, Effect
from headrace.core.resources import Amounts, Profile, Requirements

ROOM = (1_000, 1_000, 1_000, 1_000)


def table(capacities: dict[str, int] | None = None) -> tuple[MatchIndex, ClassTable]:
    match = MatchIndex()
    return match, ClassTable(match, capacities or {})


def fits(requirements: Requirements, profile: Profile) -> bool:
    match, classes = table()
    entry = classes.acquire(requirements, [])
    return match.fits(entry.number, classes.shape_acquire(profile), *ROOM)


def test_the_last_class_is_forgotten_when_it_is_dropped() -> None:
    _, classes = table()
    wanted = needs()
    effects: list[Effect] = []
    entry = classes.acquire(wanted, effects, 3)
    assert classes.acquire(wanted, effects) is entry
    assert entry.jobs == 4
    for _ in range(4):
        classes.release(entry, effects, 1, 0)
    again = classes.acquire(wanted, effects)
    assert again is not entry
    assert (again.jobs, len(classes)) == (1, 1)
    assert [type(effect) for effect in effects] == [ClassStored, ClassDropped, ClassStored]


def test_equal_requirements_are_one_class_as_long_as_a_job_has_them() -> None:
    _, classes = table()
    effects: list[Effect] = []
    first = classes.acquire(needs(cpu_milli=1), effects)
    assert classes.acquire(needs(cpu_milli=1), effects) is first
    other = classes.acquire(needs(cpu_milli=2), effects)
    classes.release(first, effects, 1, 0)
    classes.release(first, effects, 1, 0)
    again = classes.acquire(needs(cpu_milli=3), effects)
    assert effects == [
        ClassStored(0, needs(cpu_milli=1)),
        ClassStored(1, needs(cpu_milli=2)),
        ClassDropped(0),
        ClassStored(0, needs(cpu_milli=3)),
    ]
    assert (again.class_id, other.class_id, len(classes)) == (0, 1, 2)


def test_names_in_use_no_more_leave_nothing_behind() -> None:
    names = Names()
    assert [names.acquire(text) for text in ("a", "b", "a")] == [0, 1, 0]
    names.release(0)
    assert names.find("a") == 0
    names.release(0)
    assert (names.find("a"), len(names)) == (None, 1)
    assert [names.acquire(text) for text in ("c", "d")] == [0, 2]


def test_a_client_that_invents_names_leaves_nothing_behind() -> None:
    match, classes = table()
    for number in range(1_000):
        wanted = needs(queue=f"q{number}", kind=f"k{number}", labels=f"l={number}")
        classes.release(classes.acquire(wanted, []), [], 1, 0)
        profile = Profile(queues=frozenset({f"p{number}"}), labels=frozenset({f"m={number}"}))
        classes.shape_acquire(profile)
        classes.shape_release(profile)
    assert len(classes) == 0
    assert match.classes() == []
    assert classes._queues.acquire("next") < 3


def test_a_queues_capacity_outlives_its_jobs() -> None:
    match, classes = table({"compute": 1})
    for _ in range(2):
        entry = classes.acquire(needs(queue="compute"), [])
        assert match.runnable(entry.number)
        match.lease(entry.number)
        assert not match.runnable(entry.number)
        assert classes.queue_leases("compute") == 1
        match.release(entry.number)
        classes.release(entry, [], 1, 0)
    assert classes.queue_leases("never named") == 0
    assert classes.queue_capacity("never named") is None


def test_a_queue_without_capacity_does_not_inherit_one() -> None:
    match, classes = table({"compute": 1})
    entry = classes.acquire(needs(queue="other"), [])
    match.lease(entry.number)
    assert match.runnable(entry.number)


def test_wasm_jobs_go_to_workers_that_run_wasm_and_to_no_others() -> None:
    wasm = needs(kind="")
    assert fits(wasm, Profile(wasm=True))
    assert fits(wasm, Profile(wasm=True, types=frozenset()))
    assert fits(wasm, Profile(wasm=True, types=frozenset({"echo"})))
    assert not fits(wasm, Profile())
    assert not fits(wasm, Profile(types=frozenset({""})))
    assert not fits(needs(), Profile(wasm=True, types=frozenset()))


def test_workers_of_a_tenant_get_its_jobs_and_no_others() -> None:
    of_a, of_nobody = replace(needs(), tenant="a"), needs()
    assert fits(of_a, Profile(tenant="a"))
    assert fits(of_a, Profile())
    assert not fits(of_a, Profile(tenant="b"))
    assert fits(of_nobody, Profile())
    assert not fits(of_nobody, Profile(tenant="a"))


def test_no_label_of_a_client_passes_for_the_mark_of_wasm() -> None:
    assert "=" not in WASM_LABEL


def test_models_are_alternatives_and_labels_are_all_needed() -> None:
    either = needs(gpu_models="A100 H100")
    assert fits(either, Profile(gpu_model="H100"))
    assert not fits(either, Profile(gpu_model="T4"))
    assert not fits(either, Profile())
    both = needs(labels="zone=a disk=ssd")
    assert fits(both, Profile(labels=frozenset({"zone=a", "disk=ssd", "more=1"})))
    assert not fits(both, Profile(labels=frozenset({"zone=a"})))


def test_equal_profiles_are_one_shape_as_long_as_one_is_held() -> None:
    _, classes = table()
    profile = Profile(labels=frozenset({"zone=a"}))
    shape = classes.shape_acquire(profile)
    assert classes.shape_acquire(Profile(labels=frozenset({"zone=a"}))) == shape
    assert classes.shape_acquire(Profile()) != shape
    classes.shape_release(profile)
    classes.shape_release(profile)
    assert classes.shape_acquire(Profile(labels=frozenset({"zone=b"}))) == shape


def test_restored_classes_keep_their_numbers_and_gaps_are_filled() -> None:
    _, classes = table()
    stored = {0: needs(cpu_milli=1), 3: needs(cpu_milli=2)}
    classes.restore(stored)
    classes.entry(3).jobs += 1
    assert classes.restore_done() == [ClassDropped(0)]
    ids = [classes.acquire(needs(memory_mb=n), []).class_id for n in range(1, 5)]
    assert sorted(ids) == [0, 1, 2, 4]


def test_the_number_of_a_lost_class_is_never_given_out() -> None:
    _, classes = table()
    classes.restore({0: needs(cpu_milli=1), 2: needs(cpu_milli=2)})
    for lost in (1, 1, 5):
        assert not classes.knows(lost)
        classes.withhold(lost)
    ids = {classes.acquire(needs(memory_mb=n), []).class_id for n in range(1, 6)}
    assert ids == {3, 4, 6, 7, 8}


def test_needs_are_compared_in_each_dimension() -> None:
    for place in range(4):
        need = [0, 0, 0, 0]
        need[place] = 1_001
        assert not fits(Requirements("q", "k", Amounts(*need)), Profile())
