"""Who may serve a class is found, all of them and in order."""

import random

from headrace.core.resources import WASM_KIND, Amounts, Profile, Requirements
from headrace.core.serving import PAIRS_MAX, Serving, pairs_of


def need(queue: str, kind: str) -> Requirements:
    return Requirements(queue, kind, Amounts())


def test_a_profile_is_pairs_of_queue_and_kind() -> None:
    assert pairs_of(Profile()) == [(None, None)]
    assert pairs_of(Profile(queues=frozenset({"q"}))) == [("q", None)]
    assert pairs_of(Profile(types=frozenset({"t"}))) == [(None, "t")]
    assert {*pairs_of(Profile(types=frozenset({"t"}), wasm=True))} == {
        (None, "t"),
        (None, WASM_KIND),
    }
    assert pairs_of(Profile(types=frozenset())) == []


def test_a_profile_that_names_very_many_pairs_counts_as_serving_all() -> None:
    many = frozenset(map(str, range(PAIRS_MAX)))
    assert len(pairs_of(Profile(types=many))) == PAIRS_MAX
    assert pairs_of(Profile(types=many, wasm=True)) == [(None, None)]


def test_what_serves_any_of_some_classes_comes_once_and_in_order() -> None:
    serving: Serving[str] = Serving()
    serving.add(Profile(types=frozenset({"b"})), "only b")
    serving.add(Profile(), "all")
    serving.add(Profile(types=frozenset({"a", "b"})), "a and b")
    serving.add(Profile(queues=frozenset({"q"}), types=frozenset({"a"})), "a of q")
    assert [*serving.find([need("q", "a"), need("p", "b")])] == [
        "only b",
        "all",
        "a and b",
        "a of q",
    ]
    assert [*serving.find([need("p", "a")])] == ["all", "a and b"]
    assert [*serving.find([])] == []


def test_what_is_removed_while_others_come_does_no_harm() -> None:
    serving: Serving[int] = Serving()
    profile = Profile(types=frozenset({"a"}))
    numbers = [serving.add(profile, thing) for thing in range(3)]
    found = serving.find([need("q", "a")], removing=True)
    assert next(found) == 0
    serving.remove(profile, numbers[0])
    serving.remove(profile, numbers[1])
    assert [*found][-1] == 2


def test_any_history_finds_what_a_scan_finds_and_leaves_nothing_behind() -> None:
    rand = random.Random(1)
    names = ["a", "b", "c", ""]
    serving: Serving[int] = Serving()
    added: dict[int, tuple[int, Profile]] = {}
    for thing in range(600):
        if rand.random() < 0.55 or not added:
            profile = Profile(
                types=rand.choice([None, frozenset(rand.sample(names[:3], rand.randrange(3)))]),
                wasm=rand.random() < 0.3,
                queues=rand.choice([None, frozenset(rand.sample(names[:3], rand.randrange(3)))]),
            )
            added[thing] = (serving.add(profile, thing), profile)
        else:
            number, profile = added.pop(rand.choice([*added]))
            serving.remove(profile, number)
        wanted = [
            need(rand.choice(names[:3]), rand.choice(names)) for _ in range(rand.randrange(3))
        ]
        able = [
            one
            for one, (_, profile) in added.items()
            if any(
                (profile.queues is None or each.queue in profile.queues)
                and (
                    profile.types is None
                    or each.kind in profile.types
                    or (each.kind == WASM_KIND and profile.wasm)
                )
                for each in wanted
            )
        ]
        assert [*serving.find(wanted)] == able
    for number, profile in added.values():
        serving.remove(profile, number)
    assert len(serving) == 0
