"""What documents say: bodies are read once each, for checkers ask again and again."""

import json
from functools import lru_cache
from typing import Any

from headrace.wire.documents import Document

BODIES_KEPT = 4_096


@lru_cache(BODIES_KEPT)
def read(body: bytes) -> dict[str, Any]:
    """Return what a body says. It is everybody's: read only."""
    return dict(json.loads(body))


def said_by(document: Document | None) -> dict[str, Any]:
    """Return what a document says; nothing if there is none."""
    return {} if document is None else read(document.body)
