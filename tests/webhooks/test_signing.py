import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from headrace.webhooks.signing import (
    SIGNATURE_HEADER,
    check_secrets,
    new_secret,
    secret_key,
    signed_headers,
)

BODY = '{"type":"job.completed","data":{"name":"Ω"}}'.encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_the_standard_library_of_receivers_accepts_the_signature() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "msg_1", _now_ms(), BODY)
    assert Webhook(secret).verify(BODY, headers)["type"] == "job.completed"


def test_a_changed_body_id_or_time_is_noticed() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "msg_1", _now_ms(), BODY)
    later = str(int(headers["webhook-timestamp"]) + 1)
    for body, changed in (
        (BODY + b" ", {}),
        (BODY, {"webhook-id": "msg_2"}),
        (BODY, {"webhook-timestamp": later}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, {**headers, **changed})


def test_the_signature_is_that_of_the_published_example() -> None:
    headers = signed_headers(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330_999,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_rotated_both_are_good() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "msg_1", _now_ms(), BODY)
    assert headers[SIGNATURE_HEADER].count("v1,") == 2
    Webhook(old).verify(BODY, headers)
    Webhook(new).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


def test_a_phrase_of_the_callers_own_signs_by_its_bytes() -> None:
    headers = signed_headers(["webhook_secret"], "msg_1", _now_ms(), BODY)
    Webhook(b"webhook_secret").verify(BODY, headers)


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_holds_24_to_64_bytes(size: int) -> None:
    key = bytes(range(size))
    padded = "whsec_" + base64.b64encode(key).decode()
    assert secret_key(padded) == secret_key(padded.rstrip("=")) == key


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_",
        "whsec_" + "A" * 33,
        "whsec_" + "Ä" * 32,
        "whsec_" + "A" * 31 + "\n",
        "short",
        "p" * 257,
        "phrase\ud800phrase",
    ],
)
def test_other_secrets_are_refused_without_telling_them(secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as refused:
        secret_key(secret)
    assert secret == "whsec_" or secret not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_endpoint_has_one_to_four_secrets() -> None:
    assert check_secrets(["a phrase", "another one"]) == ("a phrase", "another one")
    for secrets in ([], ["a phrase"] * 5, ["a phrase", "short"]):
        with pytest.raises(ValueError):
            check_secrets(secrets)


def test_new_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "x" * 65])
def test_an_id_that_makes_the_signed_text_ambiguous_is_a_bug(message_id: str) -> None:
    with pytest.raises(AssertionError):
        signed_headers([new_secret()], message_id, 0, b"")
