"""Which owners a list means."""

from headrace.store.contract import ListQuery
from headrace.store.owners import Owners


def owners(*tenants: str) -> Owners:
    found = Owners()
    for number, tenant in enumerate(tenants):
        found.add(number, (tenant, f"user {number}"))
    found.all_known = True
    return found


def test_an_owner_is_meant_alone_and_in_no_other_tenant() -> None:
    known = owners("a", "b")
    assert known.meant(ListQuery(owner_id=1)) == {1}
    assert known.meant(ListQuery(owner_id=1, tenant="b")) == {1}
    assert known.meant(ListQuery(owner_id=1, tenant="a")) == set()
    assert known.meant(ListQuery(owner_id=9, tenant="a")) == set()


def test_a_tenant_means_all_its_owners() -> None:
    known = owners("a", "b", "a")
    assert known.meant(ListQuery(tenant="a")) == {0, 2}
    assert known.meant(ListQuery(tenant="none")) == set()
    assert known.meant(ListQuery()) is None


def test_a_tenant_that_has_all_owners_means_all_unless_one_is_damaged() -> None:
    known = owners("a", "a")
    assert known.meant(ListQuery(tenant="a")) is None
    known.all_known = False
    assert known.meant(ListQuery(tenant="a")) == {0, 1}
    known.all_known = True
    known.add(2, ("b", "user"))
    assert known.meant(ListQuery(tenant="a")) == {0, 1}
