"""Secrets and signatures, as Standard Webhooks has them.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets as randomness
from collections.abc import Iterable, Sequence
from typing import Final

from headrace.webhooks.limits import (
    MESSAGE_ID_CHARS_MAX,
    PHRASE_CHARS_MAX,
    PHRASE_CHARS_MIN,
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    SECRET_BYTES_NEW,
    SECRETS_MAX,
)

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  the prefix, not a secret

_MESSAGE_ID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MESSAGE_ID_CHARS_MAX}}}")


def new_secret() -> str:
    """Return a secret to sign with; it is shown once, to whoever registers the endpoint."""
    key = randomness.token_bytes(SECRET_BYTES_NEW)
    return SECRET_PREFIX + base64.b64encode(key).decode()


def secret_key(secret: str) -> bytes:
    """Return the key of a secret: what follows `whsec_` in base64, or the caller's own phrase.

    A phrase is taken as its UTF-8 bytes. The standard has no such form, but published clients
    register with one; a receiver hands the same bytes to its library.

    Raises: ValueError that says what is accepted, and never repeats the secret.
    """
    if not secret.startswith(SECRET_PREFIX):
        if not PHRASE_CHARS_MIN <= len(secret) <= PHRASE_CHARS_MAX:
            raise ValueError(
                f"a secret is {SECRET_PREFIX} and base64, or a phrase "
                f"of {PHRASE_CHARS_MIN} to {PHRASE_CHARS_MAX} characters"
            )
        try:
            return secret.encode()
        except UnicodeEncodeError:  # its text holds the phrase
            raise ValueError("a secret is text that UTF-8 can hold") from None
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {SECRET_PREFIX} in a secret is base64") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(f"a secret holds {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return key


def check_secrets(secrets: Sequence[str]) -> tuple[str, ...]:
    """Return the secrets of an endpoint, the newest first.

    Raises: ValueError
    """
    if not 1 <= len(secrets) <= SECRETS_MAX:
        raise ValueError(f"an endpoint has 1 to {SECRETS_MAX} secrets")
    for secret in secrets:
        secret_key(secret)
    return tuple(secrets)


def signed_headers(
    secrets: Iterable[str], message_id: str, at_ms: int, body: bytes
) -> dict[str, str]:
    """Return the three headers; one signature a secret, so that receivers can change theirs.

    Units: `at_ms` by the wall clock, of this try: receivers refuse old ones.
    """
    assert _MESSAGE_ID.fullmatch(message_id), "a dot in it would make the signed text ambiguous"
    at_s = at_ms // 1000
    signed = b"%s.%d.%s" % (message_id.encode(), at_s, body)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(at_s),
        SIGNATURE_HEADER: " ".join(_signature(secret_key(each), signed) for each in secrets),
    }


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
