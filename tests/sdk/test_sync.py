"""The client for programs without an event loop."""

import inspect
import threading

from headrace.sdk import AsyncClient, Client


def test_both_faces_have_the_same_methods_and_parameters() -> None:
    def methods(face: type) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name: [(one.name, one.kind, one.default) for one in signature.parameters.values()]
            for name, method in inspect.getmembers(face, inspect.isfunction)
            if not name.startswith("_")
            for signature in [inspect.signature(method)]
        }

    coroutines, threads = methods(AsyncClient), methods(Client)
    assert threads == coroutines
    assert len(threads) > 60


def test_a_closed_client_leaves_no_thread() -> None:
    before = threading.active_count()
    with Client("http://127.0.0.1:1"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
