"""One function a route, named as in `wire.routes`. They translate; the engine decides."""

from typing import Final

from headrace.http.errors import Handler
from headrace.http.handlers import audit, jobs, logs, modules, operations, queues, submit, work

HANDLERS: Final[dict[str, Handler]] = {
    "jobs_submit": submit.jobs_submit,
    "jobs_list": jobs.jobs_list,
    "job_get": jobs.job_get,
    "job_delete": jobs.job_delete,
    "job_cancel": jobs.job_cancel,
    "job_suspend": jobs.job_suspend,
    "job_resume": jobs.job_resume,
    "job_result": jobs.job_result,
    "job_logs": logs.job_logs,
    "job_explain": jobs.job_explain,
    "module_put": modules.module_put,
    "module_get": modules.module_get,
    "module_head": modules.module_head,
    "work_poll": work.work_poll,
    "lease_complete": work.lease_complete,
    "lease_fail": work.lease_fail,
    "lease_release": work.lease_release,
    "lease_progress": work.lease_progress,
    "queues_list": queues.queues_list,
    "queue_get": queues.queue_get,
    "queue_put": queues.queue_put,
    "queue_delete": queues.queue_delete,
    "queue_pause": queues.queue_pause,
    "queue_resume": queues.queue_resume,
    "audit_list": audit.audit_list,
    "stats": operations.stats,
    "health": operations.health,
    "health_head": operations.health,
    "livez": operations.livez,
    "livez_head": operations.livez,
    "readyz": operations.readyz,
    "readyz_head": operations.readyz,
    "metrics": operations.metrics,
    "openapi": operations.openapi,
}
