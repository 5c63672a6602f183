"""The key of a module: its sha256, and for whom it is kept.

A module belongs to the tenant that stored it, and is there for no other: what others store is
another module, even with the same bytes. The default tenant's key is the sha256 alone; others add a
digest of their name, so that no hash that somebody asks for is the key of another's module.
"""

import hashlib
from typing import Final

from headrace.core.commands import TENANT_DEFAULT

SHA256_BYTES: Final = 32
_TENANT_BYTES: Final = 16


def module_key(tenant: str, sha256: bytes) -> bytes:
    """Return the key; empty for no module."""
    if not sha256 or tenant == TENANT_DEFAULT:
        return sha256
    return sha256 + hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).digest()[:_TENANT_BYTES]


def module_sha256(key: bytes) -> bytes:
    """Return the sha256 of the module of a key."""
    return key[:SHA256_BYTES]
