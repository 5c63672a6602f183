"""`POST /api/v1/jobs`: one job or an array, all or none."""

import asyncio
import re
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from headrace.core import commands
from headrace.core.commands import Module, NewJobs, Submit
from headrace.core.ids import ID_BYTES, id_text, id_texts
from headrace.core.intake import (
    ENTRY_POINT_DEFAULT,
    JobTexts,
    Submission,
    Translator,
    invalid,
    job_texts,
    new_job,
)
from headrace.core.module_keys import module_key
from headrace.http.answers import Answer
from headrace.http.decode import batch_invalid, decode, decode_batch
from headrace.http.encode import encoded
from headrace.http.hot import KEY_HEADER, Asked, Question, ask, respond
from headrace.http.modules import check_entry_point, decoded, digest_of, entry_points
from headrace.http.site import Site
from headrace.http.views import word
from headrace.wire import limits, schema
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import SubmitJob
from headrace.wire.wasm import ModuleInfo

REPLAYED_HEADER: Final = "Idempotent-Replayed"
THREAD_CHARS_MIN: Final = 256 * limits.KIB
"""A longer inline module is decoded and hashed in a thread."""
YIELD_JOBS: Final = 500
"""Of a large batch, so many are looked at before others get their turn."""
ALIKE_JOBS_MAX: Final = 2_500
"""As many that are alike take that long."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_encode: Final = msgspec.json.Encoder().encode
_job_decoder: Final = msgspec.json.Decoder(SubmitJob)


async def jobs_submit(request: web.Request) -> web.Response:
    return await respond(submit, request)


def submit(site: Site, asked: Asked) -> Question | Coroutine[Any, Any, Answer]:
    body = asked.body
    space = _SPACE.match(body)
    assert space is not None
    if body[space.end() : space.end() + 1] == b"[":
        return _submit_batch(site, asked)
    if asked.key is None and (runs := job_texts(body, 1, 1)):
        new = _alike(site, site.translator(asked.caller, asked.trace), runs)
        if new is not None:
            site.charge(asked.caller, 1)
            return _question(site, asked, Submit(asked.caller, new))
    job = decode(_job_decoder, body)
    _take_key(asked.key, job)
    if _has_module(job):
        return _submit_module(site, asked, job)
    return _submit_one(site, asked, job, "", [])


async def _submit_module(site: Site, asked: Asked, job: SubmitJob) -> Answer:
    modules = InlineModules(site, asked.caller.tenant)
    sha256 = await modules.resolve(job)
    return await ask(site, _submit_one(site, asked, job, sha256, modules.new))


def _submit_one(
    site: Site, asked: Asked, job: SubmitJob, sha256: str, modules: list[Module]
) -> Question:
    come = site.translator(asked.caller, asked.trace).come
    new = new_job(job, site.ids.make(come.now_ms), come, sha256)
    site.charge(asked.caller, 1)
    return _question(site, asked, Submit(asked.caller, [new], modules))


def _question(site: Site, asked: Asked, command: Submit) -> Question:
    def told(replies: list[commands.Submitted]) -> Answer:
        return submit_answer(replies[0], asked.accept, site.committed())

    return Question(command, told)


def submit_answer(told: commands.Submitted, accept: str | None, headers: dict[str, str]) -> Answer:
    """Return the answer about one job."""
    if told.replayed:
        headers = {**headers, REPLAYED_HEADER: "true"}
    return encoded(msgspec.Raw(_views(told)), accept, headers)


# Batches ----------------------------------------------------------------------------------------


def _submit_batch(site: Site, asked: Asked) -> Question | Coroutine[Any, Any, Answer]:
    if asked.key is not None:
        raise Problem(
            ProblemCode.REQUEST_MALFORMED,
            f"{KEY_HEADER} goes with a single job; in a batch each job has idempotency_key",
        )
    translator = site.translator(asked.caller, asked.trace)
    turns = _turns(job_texts(asked.body, limits.SUBMIT_JOBS_MAX, ALIKE_JOBS_MAX) or [])
    if len(turns) == 1 and sum(map(len, turns[0])) > 1:  # of one job, a refusal has to be corrected
        new = _alike(site, translator, turns[0])
        if new is not None:
            site.charge(asked.caller, sum(map(len, turns[0])))
            return Question(Submit(asked.caller, new), partial(_batch_answer, site, asked))
        turns = []
    return _submit_in_turns(site, asked, translator, turns)


def _turns(runs: list[JobTexts]) -> list[list[JobTexts]]:
    """Part the jobs of a batch into what is done before others get their turn."""
    turns: list[list[JobTexts]] = []
    jobs = 0
    for texts in runs:
        jobs += len(texts)
        if not turns or len(turns[-1]) == YIELD_JOBS or jobs > ALIKE_JOBS_MAX:
            turns.append([])
            jobs = len(texts)
        turns[-1].append(texts)
    return turns


def _alike(site: Site, translator: Translator, runs: list[JobTexts]) -> list[NewJobs] | None:
    """Return jobs that are alike, run by run; None if any has to be looked at by itself."""
    new: list[NewJobs] = []
    for texts in runs:
        job_ids = site.ids.make_many(translator.come.now_ms, len(texts))
        jobs = translator.new_jobs(texts, job_ids)
        if jobs is None:
            return None
        new.append(jobs)
    return new


async def _submit_in_turns(
    site: Site, asked: Asked, translator: Translator, turns: list[list[JobTexts]]
) -> Answer:
    """Submit a batch that is long, or has to be looked at job by job."""
    modules = InlineModules(site, asked.caller.tenant)
    new: list[NewJobs] = []
    for turn in turns:
        jobs = _alike(site, translator, turn)
        if jobs is None:
            turns = []
            break
        new += jobs
        await asyncio.sleep(0)
    if not turns:
        new = await _batch_one_by_one(site, asked, translator.come, modules)
    replies = []
    if new:
        site.charge(asked.caller, sum(len(jobs.specs) for jobs in new))
        try:
            replies = await site.pump.ask(Submit(asked.caller, new, modules.new))
        except Problem as problem:
            if len(new) == len(new[0].specs) == 1 and problem.pointer is not None:
                problem.pointer = "/0" + problem.pointer  # the engine cannot know of the array
            raise
    return _batch_answer(site, asked, replies)


def _batch_answer(site: Site, asked: Asked, replies: list[commands.Submitted]) -> Answer:
    views = b"[" + b",".join(map(_views, replies)) + b"]"
    return encoded(msgspec.Raw(views), asked.accept, site.committed())


async def _batch_one_by_one(
    site: Site, asked: Asked, come: Submission, modules: "InlineModules"
) -> list[NewJobs]:
    """Return a batch's jobs. Raises: Problem, which tells all that is wrong with any of them."""
    jobs = decode_batch(asked.body)
    if len(jobs) > limits.SUBMIT_JOBS_MAX:
        raise Problem(ProblemCode.BODY_TOO_LARGE, f"at most {limits.SUBMIT_JOBS_MAX} jobs at once")
    new: list[NewJobs] = []
    problems: list[Problem] = []
    job_ids: list[bytes] = []
    job_id = b""
    for position, job in enumerate(jobs):
        if position % YIELD_JOBS == YIELD_JOBS - 1:
            await asyncio.sleep(0)
        if position:
            job_ids.append(job_id)
        job_id = site.ids.make(come.now_ms)
        if isinstance(job, Problem):
            problems.append(job)
            continue
        try:
            sha256 = await modules.resolve(job) if _has_module(job) else ""
            new.append(new_job(job, job_id, come, sha256, job_ids))
        except Problem as problem:
            problem.move_to(f"/{position}")
            problems.append(problem)
    if problems:
        raise batch_invalid(problems)
    return new


def _take_key(key: str | None, job: SubmitJob) -> None:
    if key is None:
        return
    if not 0 < len(key) <= limits.KEY_CHARS_MAX:
        raise Problem(
            ProblemCode.REQUEST_MALFORMED,
            f"{KEY_HEADER} has 1 to {limits.KEY_CHARS_MAX} characters",
        )
    if job.idempotency_key is not None and job.idempotency_key != key:
        raise invalid(f"it differs from the header {KEY_HEADER}", "/idempotency_key")
    job.idempotency_key = key


def _has_module(job: SubmitJob) -> bool:
    return job.wasm_module is not None or job.wasm_sha256 is not None


class InlineModules:
    """The modules of one submit: each is decoded, hashed and verified once."""

    def __init__(self, site: Site, tenant: str) -> None:
        self._site = site
        self._tenant = tenant
        self._sha256_of: dict[str, str] = {}
        self._infos: dict[str, ModuleInfo] = {}
        self.new: list[Module] = []
        """Those that the store does not have yet."""

    async def resolve(self, job: SubmitJob) -> str:
        """Return the sha256 of the job's module. Raises: Problem."""
        checks = self._site.modules
        if job.wasm_module is not None:
            try:
                sha256 = await self._inline(job.wasm_module)
            except Problem as problem:
                problem.pointer = "/wasm_module"
                raise
            if job.wasm_sha256 not in (None, sha256):
                raise Problem(
                    ProblemCode.MODULE_HASH_MISMATCH,
                    "wasm_module has another sha256",
                    pointer="/wasm_sha256",
                )
        else:
            assert job.wasm_sha256 is not None
            sha256 = job.wasm_sha256
        info = self._infos.get(sha256) or await checks.stored(self._key(sha256))
        if info is None and job.await_module:
            return sha256
        if info is None:
            raise Problem(
                ProblemCode.MODULE_UNKNOWN,
                "store the module first with PUT /api/v1/modules/{sha256}, send it as"
                " wasm_module, or say await_module: true",
                pointer="/wasm_sha256",
            )
        self._infos[sha256] = info
        check_entry_point(info, job.entry_point or ENTRY_POINT_DEFAULT, "/entry_point")
        return sha256

    async def _inline(self, text: str) -> str:
        known = self._sha256_of.get(text)
        if known is not None:
            return known
        if len(text) >= THREAD_CHARS_MIN:
            data, sha256 = await asyncio.to_thread(_hashed, text)
        else:
            data, sha256 = _hashed(text)
        checks = self._site.modules
        key = self._key(sha256)
        info = await checks.stored(key)
        if info is None:
            info = await checks.new(key, data)
            self.new.append(Module(key, data, entry_points(info)))
        self._infos[sha256] = info
        self._sha256_of[text] = sha256
        return sha256

    def _key(self, sha256: str) -> bytes:
        return module_key(self._tenant, bytes.fromhex(sha256))


def _hashed(text: str) -> tuple[bytes, str]:
    data = decoded(text)
    return data, digest_of(data)


def _views(told: commands.Submitted) -> bytes:
    """Return the views of jobs that are alike, apart by commas."""
    if told.replayed or told.never_fits:
        ids = [told.job_ids[at : at + ID_BYTES] for at in range(0, len(told.job_ids), ID_BYTES)]
        return b",".join(_encode(_view(told, job_id)) for job_id in ids)
    # The usual one is written out: its two texts need no escapes.
    return id_texts(told.job_ids, b'{"job_id":"', b'","status":"%b"}' % word(told.status).encode())


def _view(told: commands.Submitted, job_id: bytes) -> schema.Submitted:
    warning = None
    if told.never_fits:
        warning = {"code": "never_fits", "detail": told.never_fits}
    return schema.Submitted(
        job_id=id_text(job_id), status=word(told.status), replayed=told.replayed, warning=warning
    )
