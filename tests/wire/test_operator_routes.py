"""The routes of operators."""

from headrace.wire.keys import Scope
from headrace.wire.operator_routes import OPERATOR_ROUTES, TENANT


def test_what_tells_a_worker_something_takes_an_admin() -> None:
    for route in OPERATOR_ROUTES:
        if "/workers" in route.path:
            assert route.scopes == (Scope.ADMIN,), route.name
            assert not route.of_server, "a tenant's admin has workers, too"


def test_one_worker_can_be_named_with_its_tenant() -> None:
    for route in OPERATOR_ROUTES:
        if "{name}" in route.path:
            assert TENANT in route.params, route.name
