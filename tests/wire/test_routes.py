import re

from headrace.wire.dashboard_routes import DASHBOARD
from headrace.wire.root import ROOT, is_root
from headrace.wire.routes import ROUTES


def test_paths_are_under_the_version_but_for_operations_and_the_root_surface() -> None:
    for route in ROUTES:
        assert is_root(route.path) == (route.tag == ROOT), route
        assert route.path.startswith("/api/v1/") or route.tag in {"operations", DASHBOARD, ROOT}, (
            route
        )


def test_every_route_says_what_it_does_in_a_line() -> None:
    for route in ROUTES:
        assert 0 < len(route.summary) <= 100, route.name
        assert not route.summary.endswith("."), route.name


def test_only_routes_that_change_something_have_a_body() -> None:
    assert all(route.method in {"POST", "PUT"} for route in ROUTES if route.body is not None)


def test_path_parameters_are_words_that_the_document_explains() -> None:
    found = {name for route in ROUTES for name in re.findall(r"\{(\w+)\}", route.path)}
    assert found == {"id", "sha256", "lease", "name", "delivery", "version", "file", "page"}
