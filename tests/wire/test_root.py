import pytest

from headrace.wire.root import is_root


@pytest.mark.parametrize(
    "path", ["/jobs", "/jobs/", "/jobs/x/cancel", "/job-types", "/job-groups/g", "/webhooks"]
)
def test_the_root_surface_begins_with_its_own_names(path: str) -> None:
    assert is_root(path)


@pytest.mark.parametrize("path", ["", "/", "/api/v1/jobs", "/jobsx", "/health", "//jobs", "jobs"])
def test_all_else_is_not_of_it(path: str) -> None:
    assert not is_root(path)
