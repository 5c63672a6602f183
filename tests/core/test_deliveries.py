from headrace.core.deliveries import ENDPOINT_BYTES, Delivery, endpoint_of_url


def test_the_endpoint_of_a_url_tells_tenants_apart() -> None:
    assert endpoint_of_url("a", "https://x/") != endpoint_of_url("b", "https://x/")
    assert endpoint_of_url("a", "https://x/") == endpoint_of_url("a", "https://x/")
    assert len(endpoint_of_url("a", "https://x/")) == ENDPOINT_BYTES


def test_a_delivery_is_shown_without_url_and_data() -> None:
    one = Delivery(1, bytes(16), "e", "t", 0, 0, 0, data=b"canary", url="https://canary/")
    assert "canary" not in repr(one)
