"""The audit log: what admins did."""

from typing import Final

from aiohttp import web

from headrace.http import queries
from headrace.http.encode import answer
from headrace.http.site import site_of
from headrace.wire import limits
from headrace.wire.document_routes import AuditAnswer, AuditView
from headrace.wire.durations import rfc3339

NUMBER_MAX: Final = (1 << 53) - 1


async def audit_list(request: web.Request) -> web.Response:
    limit = queries.number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    before = queries.number(request, "before", 1, NUMBER_MAX)
    found = site_of(request).store.audit(before, limit)
    entries = [
        AuditView(
            number=entry.number,
            at=rfc3339(entry.at_ms),
            tenant_id=entry.tenant,
            user=entry.user,
            key_id=entry.key_id or None,
            act=entry.act,
            name=entry.name,
            detail=entry.detail,
        )
        for entry in found
    ]
    following = entries[-1].number if len(entries) == limit and entries[-1].number > 1 else None
    return answer(request, AuditAnswer(entries=entries, count=len(entries), next=following))
