"""Who submits, and what they do to their jobs afterwards."""

from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headrace.core.bulk_acts import ACTED_ON, BULK_ACTS
from headrace.core.commands import (
    TENANT_DEFAULT,
    Act,
    Caller,
    Control,
    DropDocument,
    Expect,
    Explain,
    FindWorkers,
    Module,
    NewJobs,
    OrderWorker,
    PutDocument,
    PutModule,
    StartBulk,
    StopBulk,
    Submit,
    SubmitEach,
    Submitted,
)
from headrace.core.ids import id_text
from headrace.core.job import Status
from headrace.core.module_keys import module_key
from headrace.core.resources import Amounts, Requirements
from headrace.store.contract import ListQuery
from headrace.wire.documents import (
    BulkDocument,
    Kind,
    LimitDocument,
    QueueDocument,
    RunningMax,
    TenantDocument,
    TypeDocument,
    WebhookDocument,
    body_of,
)
from headrace.wire.schema import JobFilter
from sim.model import Model
from sim.model_job import each_submitted, named_in, spec_of, with_member
from sim.net import Net
from sim.outbox import PATTERNS, WEBHOOKS
from sim.settings import (
    GPU_MODELS,
    KINDS,
    LABELS,
    MODULES,
    QUEUES,
    TAGS,
    TENANTS,
    WEIGHT_MAX,
    Settings,
)
from sim.world import World

TIMEOUT_MS: Final = 3_000
BATCH_MAX: Final = 6
TRIES: Final = 4
LIMITS_FIRST: Final = 2
"""So many of each client hold from the beginning, in seeds that have any."""
KNOWN_MAX: Final = 200
CARELESS: Final = 0.1
"""Submits without keys that are tried again all the same, so that jobs come twice."""
RETENTIONS: Final[tuple[Any, ...]] = (0, 0.3, 2, 10, "never")
"""That jobs ask for: seconds."""
RATES_MS: Final = (200, 1_000, 5_000, 5_000)
LIMITED: Final = {
    "l1": ("type", "wasm"),
    "l2": ("type", KINDS[1]),
    "l3": ("tenant", TENANTS[0]),
    "l4": ("tag", TAGS[0]),
}
"""What limits are mostly of, by their names."""
COUNTS: Final[tuple[dict[str, int], ...]] = (
    {},
    {"bytes_max": 600},
    {"bytes_max": 2_000, "jobs_max": 10},
    {"jobs_max": 3},
)
"""What a tenant may have that has not ended. A spec has some 200 bytes."""
GROUPS: Final = ("images", "letters")
DOCUMENTS: Final = {
    Kind.TYPE: KINDS[1:],
    Kind.GROUP: GROUPS,
    Kind.LIMIT: tuple(LIMITED),
    Kind.TENANT: (*TENANTS, "default"),
    Kind.WEBHOOK: WEBHOOKS,
}
"""Names of documents, where they are not those of queues."""
AMOUNTS: Final = (0, 0, 500, 1_000, 4_000)


class Ask:
    """One submit as its client means it; each try gets new job ids, as the server makes them.

    Jobs are fields of `NewJobs`: one job, or several that are alike.
    """

    __slots__ = ("caller", "each", "jobs", "modules", "tries")

    def __init__(
        self, caller: Caller, jobs: list[dict[str, Any]], modules: bool, each: bool
    ) -> None:
        self.caller = caller
        self.jobs = jobs
        self.modules = modules
        """Whether it brings the modules of its jobs."""
        self.each = each
        """Whether its jobs are taken or refused one by one."""
        self.tries = 0


class Client:
    def __init__(
        self, number: int, world: World, settings: Settings, net: Net, model: Model
    ) -> None:
        self._world = world
        self._settings = settings
        self._net = net
        self._model = model
        self.caller = Caller("t1", f"user{number}")
        """It also comes as one of other tenants."""
        self._number = number
        self._known: list[bytes] = []
        self.closing = False
        self._acts = [act for act, weight in settings.acts.items() for _ in range(int(weight))]
        world.at(number, self._turn)
        if "document" in self._acts:
            for kinds in ((Kind.GROUP,), (Kind.TYPE, Kind.GROUP), (Kind.TYPE,), (Kind.QUEUE,)):
                world.at(number, self._set, kinds)
        if "limit" in self._acts:
            for _ in range(LIMITS_FIRST):
                world.at(number, self._set, (Kind.LIMIT,))
            world.at(number, self._set, (Kind.TENANT, Kind.TENANT, Kind.LIMIT))

    def _turn(self) -> None:
        if self.closing:
            return
        world = self._world
        if self._acts and self._known and world.chance(0.3):
            act = world.pick(self._acts)
            if act == "document":
                self._set(
                    (*(Kind.QUEUE,) * 3, Kind.TENANT, Kind.GROUP, Kind.TYPE, *(Kind.WEBHOOK,) * 3)
                )
            elif act == "limit":
                self._set((Kind.LIMIT, Kind.LIMIT, Kind.TENANT, Kind.QUEUE))
            elif act == "bulk":
                self._bulk()
            elif act == "order":
                self._order()
            elif act == "fleet":
                self._look()
            else:
                self._act(act, self._target(act))
        elif world.chance(0.02):
            key = module_key(world.pick((TENANT_DEFAULT, *TENANTS)), world.pick(MODULES))
            module = Module(key, b"\0asm" + key)
            self._net.ask(lambda: PutModule(module), self._heard, TIMEOUT_MS)
        elif len(self._model.jobs) < self._settings.jobs_wanted:
            count = 1 if world.chance(0.7) else world.between(2, BATCH_MAX)
            each = count > 1 and world.chance(0.5)
            caller = replace(self.caller, tenant=world.pick(("default", *TENANTS)))
            jobs: list[dict[str, Any]] = []
            for _ in range(count):
                jobs.append(self._job(caller, [] if each else jobs))
            self._send(Ask(caller, jobs, world.chance(0.5), each))
        else:
            world.at(3 * self._settings.pause_ms, self._turn)
            return
        world.at(world.between(1, self._settings.pause_ms), self._turn)

    # Submit -------------------------------------------------------------------------------------

    def _job(self, caller: Caller, jobs: list[dict[str, Any]]) -> dict[str, Any]:
        """`jobs`: those before it in its submit."""
        world, settings = self._world, self._settings
        random, pick = world.random, world.pick
        amounts = Amounts()
        gpu_models: frozenset[str] = frozenset()
        labels: frozenset[str] = frozenset()
        if not settings.plain:
            amounts = Amounts(pick(AMOUNTS), pick(AMOUNTS), pick((0, 0, 100)), 0)
            if random() < 0.15:
                amounts = Amounts(amounts.cpu_milli, amounts.memory_mb, 0, 500)
                gpu_models = frozenset(m for m in GPU_MODELS if random() < 0.5)
            labels = frozenset(label for label in LABELS if random() < 0.15)
        queue, kind = pick(QUEUES), pick(KINDS)
        tenant = caller.tenant if caller.tenant in TENANTS else ""
        tags = [tag for tag in TAGS if random() < 0.2]
        limited = self._model.limits.tags(self._model.documents) & set(tags)
        need = Requirements(queue, kind, amounts, gpu_models, labels, tenant, frozenset(limited))
        new: dict[str, Any] = {
            "requirements": need,
            "priority": pick((5, 5, 5, 0, 9, 3)),
            "timeout_ms": 3_600_000,
            "retry_delay_ms": pick((0, 10, 500, 2_000)),
            "retry_backoff_centi": pick((100, 200)),
            "retries_max": pick((0, 1, 2, 4)),
            "specs": [spec_of(need, world.rng.getrandbits(40), tags)],
        }
        if random() < settings.timeouts:
            new["timeout_ms"] = world.between(50, 5_000)
        if random() < settings.delays:
            if random() < 0.5:
                new["delay_ms"] = world.between(1, 8_000)
            else:
                at_ms = world.wall_ms() + world.between(-2_000, 8_000)
                new["scheduled_at_ms"] = at_ms
                self._model.latest_schedule_ms = max(self._model.latest_schedule_ms, at_ms)
        if random() < settings.delays / 2:
            new["start_before_at_ms"] = world.wall_ms() + world.between(1, 6_000)
        if random() < 0.5:
            queue_key = (
                f"{tenant} {queue} key{world.between(1, settings.keys)} of {world.now // 20_000}"
            )
            rates = self._net.rates
            mine = "" if world.chance(rates.get("client_reuse_key", 0)) else f" {self._number}"
            new["key_digest"] = blake2b(f"{queue_key}{mine}".encode(), digest_size=16).digest()
            shown = queue_key if world.chance(0.9) else repr(new["specs"])
            new["request_digest"] = blake2b(shown.encode(), digest_size=16).digest()
        elif random() < 0.1:
            url = f"https://own{world.between(1, 3)}.test/"
            new["specs"] = [with_member(new["specs"][0], "webhook_url", url)]
            new["webhook_url"] = url
        elif random() < 0.2:
            others = world.between(1, BATCH_MAX)
            new["specs"] += [spec_of(need, world.rng.getrandbits(40), tags) for _ in range(others)]
        if settings.retentions and random() < settings.retentions:
            new["retention"] = kept = pick(RETENTIONS)
            new["specs"] = [with_member(spec, "retention", kept) for spec in new["specs"]]
        if kind == "" and random() < 0.3:
            sha = pick(MODULES)
            new["module_key"] = module_key(tenant or TENANT_DEFAULT, sha)
            new["specs"] = [with_member(spec, "wasm_sha256", sha.hex()) for spec in new["specs"]]
            if len(new["specs"]) == 1 and random() < 0.5:
                new["await_module"] = True
        if settings.afters and len(new["specs"]) == 1 and random() < settings.afters:
            new["after"] = self._after(caller, jobs)
            new["any_end"] = random() < 0.3
        return new

    def _after(self, caller: Caller, jobs: list[dict[str, Any]]) -> list[Any]:
        """Return jobs to run after: known ones, or by number earlier ones of the same submit."""
        world = self._world
        found: list[Any] = [
            number for number, fields in enumerate(jobs) if len(fields["specs"]) == 1
        ]
        live = [
            job_id
            for job_id in self._known[-20:]
            if world.chance(0.1)
            or (job_id in self._model.jobs and self._model.owners[job_id] == caller)
        ]
        found += live
        return [one for one in found[-6:] if world.chance(0.4)]

    def _send(self, ask: Ask) -> None:
        world = self._world
        ask.tries += 1

        def make() -> Submit:
            jobs: list[NewJobs] = []
            for fields in ask.jobs:
                job = NewJobs(job_ids=b"".join(self._id() for _ in fields["specs"]), **fields)
                job.after = [
                    one if isinstance(one, bytes) else jobs[one].job_ids for one in job.after
                ]
                if job.after:
                    job.specs = [named_in(job.specs[0], job.after, job.any_end)]
                jobs.append(job)
            shas = {job.module_key for job in jobs if job.module_key}
            modules = [Module(sha, b"\0asm" + sha) for sha in sorted(shas)] if ask.modules else []
            return (SubmitEach if ask.each else Submit)(ask.caller, jobs, modules)

        def done(reply: Any) -> None:
            if isinstance(reply, list):
                told = [one for one in each_submitted(reply) if isinstance(one, Submitted)]
                self._known.extend(submitted.job_ids for submitted in told)
                del self._known[:-KNOWN_MAX]
                if world.chance(self._net.rates.get("client_repeat_submit", 0)):
                    self._again(ask)
            elif ask.tries < TRIES and (reply is None or reply.row.retryable):
                careful = all("key_digest" in fields for fields in ask.jobs)
                if careful or world.chance(CARELESS):
                    world.at(world.between(1, 300 if reply is None else 2_000), self._again, ask)

        self._net.ask(make, done, TIMEOUT_MS)

    def _again(self, ask: Ask) -> None:
        if not self.closing:
            self._send(ask)

    def _id(self) -> bytes:
        """As `core.ids` makes them: time first, so that they mostly rise."""
        world = self._world
        return world.wall_ms().to_bytes(6, "big") + world.rng.getrandbits(80).to_bytes(10, "big")

    # Afterwards ---------------------------------------------------------------------------------

    def _target(self, act: str) -> bytes:
        """Return a job for an act: often one that is where the act means something."""
        world, model = self._world, self._model
        if world.chance(0.7):
            if act == "resume":
                jobs = [i for i, job in model.jobs.items() if job.status is Status.SUSPENDED]
            elif act == "retry" and world.chance(0.2):
                jobs = [i for i, job in model.jobs.items() if job.status is Status.SCHEDULED]
            elif act in ("delete", "retry") or (act == "remove" and world.chance(0.5)):
                jobs = list(model.ended)[-20:]
            else:
                jobs = list(model.held)
            mine = [job_id for job_id in jobs if model.owners[job_id].user == self.caller.user]
            if mine:
                return bytes(world.pick(mine))
        return bytes(world.pick(self._known))

    def _act(self, act: str, job_id: bytes) -> None:
        world = self._world
        caller = self._model.owners[job_id]
        if world.chance(self._net.rates.get("client_stranger", 0)):
            world.counts["fault client_stranger"] += 1
            caller = world.pick((Caller("t2", caller.user), Caller("t1", "other")))
        if act == "explain":
            self._net.ask(lambda: Explain(caller, job_id), self._heard, TIMEOUT_MS)
            return
        what, force = Act[act.upper()], act == "retry" and world.chance(0.3)
        self._net.ask(lambda: Control(caller, job_id, what, force), self._heard, TIMEOUT_MS)

    def _bulk(self) -> None:
        """Begin an act on many jobs, or end one."""
        world = self._world
        names = [name for name in self._model.meant if world.chance(0.5)]
        if names and world.chance(0.2):
            name = world.pick(names)
            self._net.ask(lambda: StopBulk(self.caller, name), self._heard, TIMEOUT_MS)
            return
        word = world.pick((*BULK_ACTS, "cancel"))
        statuses = ACTED_ON[BULK_ACTS[word]]
        if world.chance(0.5):
            fleeting = statuses & {Status.QUEUED, Status.LOCKED, Status.RUNNING}
            statuses = frozenset({world.pick(sorted(fleeting or statuses))})
        tenant = world.pick(("default", *TENANTS))
        caller = replace(self.caller, tenant=tenant, admin=world.chance(0.3))
        if world.chance(self._net.rates.get("client_stranger", 0)):
            caller = replace(caller, tenant="t2")
        dry_run = world.chance(0.2)

        def make() -> StartBulk:
            owner_id = None if caller.admin else self._net.owner_id(caller)
            query = ListQuery(tenant=caller.tenant, owner_id=owner_id, statuses=statuses)
            value = BulkDocument(
                act=word,
                filter=JobFilter(),
                query=msgspec.Raw(msgspec.json.encode(query)),
                statuses=sorted(statuses),
                dry_run=dry_run,
                tenant=caller.tenant,
                user=caller.user,
            )
            return StartBulk(caller, id_text(self._id()), value)

        self._net.ask(make, self._heard, TIMEOUT_MS)

    def _set(self, kinds: tuple[Kind, ...]) -> None:
        """Change the settings of a queue, or of something that the engine only keeps."""
        world, model = self._world, self._model
        kind = world.pick(kinds)
        name = world.pick(DOCUMENTS.get(kind, (*QUEUES, "unused")))
        known = model.documents.get((kind, name))
        version = world.between(1, 3) if known is None else known.version
        expected = world.pick((*(Expect.ANYTHING,) * 3, Expect.ABSENT, Expect.PRESENT, version))
        body = b"{}"
        if not (drop := world.chance(0.3)) and kind is Kind.QUEUE:
            paused = world.chance(0.3)
            value = QueueDocument(paused=paused)
            if world.chance(0.7):
                value = QueueDocument(
                    capacity=world.pick((None, 0, 1, 2, 5)),
                    paused=paused,
                    backlog_max=world.pick((None, None, None, 3, 20)),
                )
            body = body_of(value)
        elif kind is Kind.LIMIT and not drop:
            body = body_of(self._limit(name))
        elif kind is Kind.TENANT and not drop:
            body = body_of(self._quota(limited=Kind.LIMIT in kinds))
        elif kind is Kind.TYPE:
            there = [of for what, of in model.documents if what is Kind.GROUP]
            group = world.pick(("", *GROUPS, *there, *there))
            keep_ms = world.pick((None, None, -1, 0, 1_000, 10_000))
            body = body_of(
                TypeDocument(group=group, suspendable=world.chance(0.5), retention_ms=keep_ms)
            )

        elif kind is Kind.WEBHOOK:
            events = tuple({world.pick(PATTERNS) for _ in range(world.between(1, 3))})
            value = WebhookDocument(
                tenant=world.pick(("default", *TENANTS)),
                user=self.caller.user,
                url="https://example.com/",
                events=tuple(sorted(events)),
                every_user=world.chance(0.5),
                disabled="by hand" if world.chance(0.1) else "",
            )
            body = body_of(value)

        def make() -> PutDocument | DropDocument:
            if drop:
                return DropDocument(self.caller, kind, name, expected)
            return PutDocument(self.caller, kind, name, body, expected)

        self._net.ask(make, self._heard, TIMEOUT_MS)

    def _limit(self, name: str) -> LimitDocument:
        """Return a limit; mostly the same name is of the same thing, so that it lasts."""
        world = self._world
        what, value = LIMITED[name] if world.chance(0.8) else world.pick([*LIMITED.values()])
        some = {what: value, "concurrency": world.pick((None, None, 0, 1, 2, 3, 5))}
        if world.chance(0.7):
            some |= {"rate_starts": world.pick((1, 2, 5)), "rate_per_ms": world.pick(RATES_MS)}
        return LimitDocument(**some)

    def _quota(self, *, limited: bool) -> TenantDocument:
        world = self._world
        weight = world.between(1, WEIGHT_MAX)
        if not limited:
            return TenantDocument(weight=weight)
        amounts = (None, None, 0, 1_000, 5_000)
        return TenantDocument(
            weight=weight,
            **world.pick(COUNTS),
            running_max=world.pick(
                (
                    None,
                    RunningMax(jobs=world.pick((0, 1, 3))),
                    RunningMax(memory_mb=world.pick((500, 1_000, 4_000))),
                    RunningMax(
                        cpu_milli=world.pick(amounts),
                        memory_mb=world.pick(amounts),
                        storage_mb=world.pick((None, 100)),
                        gpu_milli=world.pick((None, 500)),
                    ),
                )
            ),
            job_max=world.pick((None, None, RunningMax(memory_mb=1_000))),
        )

    def _order(self) -> None:
        """Have a worker told something about itself; mostly to go on."""
        world = self._world
        caller, tenant = world.pick(
            (
                (Caller("t1", "root", admin=True), None),
                (Caller("t1", "root", admin=True), world.pick(("", *TENANTS))),
                (Caller("t1", "adam", admin=True, all_tenants=False), None),
            )
        )
        worker = f"w{world.between(0, self._settings.workers)}"
        order = world.pick(("drain", "quit", "", ""))
        self._net.ask(lambda: OrderWorker(caller, tenant, worker, order), self._heard, TIMEOUT_MS)

    def _look(self) -> None:
        """Look at the workers."""
        all_tenants = self._world.chance(0.5)
        caller = Caller("t2", "root", admin=True, all_tenants=all_tenants)
        self._net.ask(lambda: FindWorkers(caller, ("", ""), 3), self._heard, TIMEOUT_MS)

    def _heard(self, reply: Any) -> None:
        """The model has checked it when it left the server."""


class Closer:
    """After the faults: resumes what is suspended or paused, so that everything can end."""

    def __init__(self, world: World, net: Net, model: Model) -> None:
        self._world = world
        self._net = net
        self._model = model
        self._turn()

    def _turn(self) -> None:
        for job_id, job in self._model.jobs.items():
            if job.status.name == "SUSPENDED":
                command = Control(self._model.owners[job_id], job_id, Act.RESUME)
                self._net.ask(lambda command=command: command, lambda _reply: None, TIMEOUT_MS)
        for key in sorted(self._model.waiting.modules()):
            module = Module(key, b"\0asm" + key)
            self._net.ask(lambda module=module: PutModule(module), lambda _reply: None, TIMEOUT_MS)
        for name in QUEUES:
            capacity, paused = self._model.limits_of(name)
            if paused or capacity == 0:
                self._net.ask(
                    lambda name=name: PutDocument(Caller("t1", "root"), Kind.QUEUE, name, b"{}"),
                    lambda _reply: None,
                    TIMEOUT_MS,
                )
        for kind, name in list(self._model.documents):
            if kind in (Kind.LIMIT, Kind.TENANT):
                self._net.ask(
                    lambda kind=kind, name=name: DropDocument(Caller("t1", "root"), kind, name),
                    lambda _reply: None,
                    TIMEOUT_MS,
                )
        for name in [name for kind, name in self._model.documents if kind is Kind.WORKER]:
            tenant, _, worker = name.partition("\0")
            self._net.ask(
                lambda tenant=tenant, worker=worker: OrderWorker(
                    Caller("t1", "root"), tenant, worker, ""
                ),
                lambda _reply: None,
                TIMEOUT_MS,
            )
        self._world.at(500, self._turn)
