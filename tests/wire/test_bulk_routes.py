from typing import get_args

from headrace.core.bulk_acts import BULK_ACTS
from headrace.wire.bulk_routes import BULK_ROUTES, BulkWord
from headrace.wire.keys import Scope
from headrace.wire.route import scopes_of


def test_every_act_has_its_word() -> None:
    assert set(get_args(BulkWord)) == BULK_ACTS.keys()


def test_acts_need_the_scope_that_acts_on_one_job_need() -> None:
    scopes = {route.name: scopes_of(route) for route in BULK_ROUTES}
    assert scopes["jobs_bulk"] == scopes["bulk_cancel"] == (Scope.SUBMIT,)
    assert scopes["bulks_list"] == scopes["bulk_get"] == (Scope.READ,)
