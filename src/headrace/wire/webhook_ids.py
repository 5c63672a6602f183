"""Ids of webhooks and of deliveries, as they are shown."""

from hashlib import blake2b
from typing import Final

WEBHOOK_PREFIX: Final = "wh_"
MESSAGE_PREFIX: Final = "msg_"
_JOBS_PREFIX: Final = "jobs_"
_ID_CHARS: Final = 32


def webhook_name(endpoint: bytes) -> str:
    """Return a webhook's id, of its 16 random bytes."""
    return WEBHOOK_PREFIX + endpoint.hex()


def endpoint_of(name: str) -> bytes | None:
    """Return the 16 bytes of a webhook's id; None for what is none."""
    text = name.removeprefix(WEBHOOK_PREFIX)
    if text == name or len(text) != _ID_CHARS:
        return None
    try:
        endpoint = bytes.fromhex(text)
    except ValueError:
        return None
    return endpoint if endpoint.hex() == text else None


def jobs_secret_name(tenant: str) -> str:
    """Return the name of the document with the secret for URLs that jobs of a tenant name."""
    return _JOBS_PREFIX + blake2b(tenant.encode(), digest_size=16).hexdigest()


def message_id(number: int, server: bytes) -> str:
    """Return what receivers know an event by. `server`: no two servers have it."""
    text = number.to_bytes(8, "big")
    return MESSAGE_PREFIX + text.hex() + blake2b(text, key=server, digest_size=6).hexdigest()


def message_number(text: str) -> int | None:
    """Return the number of an event; None for what is no id of any."""
    digits = text.removeprefix(MESSAGE_PREFIX)
    if digits == text or len(digits) != 28:
        return None
    try:
        return int.from_bytes(bytes.fromhex(digits)[:8], "big")
    except ValueError:
        return None
