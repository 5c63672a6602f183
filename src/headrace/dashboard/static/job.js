/** One job: where it stands, why it waits, what happened to it, its params, result and log. */

import { follow, get, part, Problem } from "./api.js";
import { actButtons, ENDED } from "./act.js";
import { problemBox } from "./dialog.js";
import { add, fill, h, renew, setText } from "./dom.js";
import { ago, between, bytes, count, json, megabytes, plain, span, time } from "./format.js";
import { logPanel } from "./log.js";
import { badge, breakable, facts, keptFor, head, jobLink, link, panel, progress } from "./parts.js";
import { timeline } from "./timeline.js";

export const title = "Job";

const WAITS = ["initializing", "scheduled", "queued", "resuming"];
const EXPLAIN_MS = 3000;
/** What changes all the time while a job runs, and is shown elsewhere. */
const RUNS = { progress: 0, progress_details: null, eta: null, updated_at: null };

export function show(main, { name: id, signal }) {
  const top = h("div");
  const now = h("div", { class: "stack" });
  const story = timeline();
  const params = h("div", { class: "stack" });
  const result = h("div");
  const log = logPanel(id, signal);
  const body = h(
    "div",
    { class: "job", hidden: true },
    h("div", { class: "stack" }, now, panel("Timeline", story.element), result, log.element),
    params,
  );
  main.append(top, body);
  fill(top, head("Job", h("span", { class: "mono" }, id)));
  let following = null;
  let status = "";
  let titled = false;

  async function look() {
    const path = `/api/v1/jobs/${part(id)}`;
    const [{ job, result: ended }, told, { attempts }] = await Promise.all([
      get(path, {}, signal),
      get(`${path}/progress`, {}, signal),
      get(`${path}/attempts`, {}, signal),
    ]);
    if (signal.aborted) return;
    document.title = `${job.name} · headrace`;
    const inside = top.contains(document.activeElement);
    renew(top, [job.id, job.name, job.status], () => headOf(job, acted));
    const left = inside && !top.contains(document.activeElement);
    if (!titled || left) top.querySelector("h1").focus({ preventScroll: true });
    titled = true;
    renew(params, { ...job, ...RUNS }, () => paramsOf(job));
    body.hidden = false;
    story.show(job, attempts, told.history);
    renew(result, [job.status, job.error, ended], () => resultOf(job, ended));
    fill(now, await nowOf(job, signal));
    const revived = ENDED.includes(status) && !ENDED.includes(job.status);
    if (!following || revived) begin();
    if (revived || !status) log.begin();
    status = job.status;
  }

  const guarded = () =>
    look().catch((error) => {
      if (signal.aborted || error.name === "AbortError") return;
      if (!(error instanceof Problem)) throw error;
      body.hidden = true;
      fill(top, head("Job", h("span", { class: "mono" }, id)), problemBox(error, guarded));
    });

  async function acted(act) {
    if (act === "delete") location.hash = "#/jobs";
    else await guarded();
  }

  let due = 0;
  function soon() {
    clearTimeout(due);
    due = setTimeout(guarded, 60);
  }
  function begin() {
    following?.abort();
    following = new AbortController();
    const ended = AbortSignal.any([signal, following.signal]);
    follow(`/api/v1/jobs/${part(id)}/events`, {
      signal: ended,
      told: ({ name, data }) => {
        if (name === "snapshot") return;
        if (name === "progress") advance(now, data);
        else soon();
      },
    }).catch(() => {});
  }
  const explaining = setInterval(() => {
    if (WAITS.includes(status) && !document.hidden) guarded();
  }, EXPLAIN_MS);
  signal.addEventListener("abort", () => {
    clearInterval(explaining);
    clearTimeout(due);
  });
  guarded();
}

function headOf(job, acted) {
  return head(
    h("span", { class: "row" }, h("span", {}, breakable(job.name)), badge(job.status)),
    h("span", { class: "mono" }, job.id),
    actButtons(job, acted),
  );
}

// Now --------------------------------------------------------------------------------------------

async function nowOf(job, signal) {
  if (job.status === "running" || job.status === "suspending" || job.status === "canceling") {
    return panel(
      "Progress",
      h("div", { class: "now" }, progress(job.progress, "Progress")),
      h("p", { class: "details" }, job.progress_details ?? ""),
      job.eta && h("p", { class: "soft" }, "Ends about ", time(job.eta), " if it goes on like this"),
    );
  }
  if (!WAITS.includes(job.status)) return null;
  const found = await get(`/api/v1/jobs/${part(job.id)}/explain`, {}, signal);
  const place = placeOf(found);
  return panel(
    "Why it waits",
    h("ul", { class: "reasons" }, found.reasons.map((reason) => h("li", {}, reason))),
    found.reasons.length === 0 && h("p", {}, "It does not wait any more."),
    facts([
      ["Place in line", place],
      ["Workers that fit", `${count(found.workers_fit)} of ${count(found.workers_known)} known`],
      [
        "Queue",
        found.queue_capacity === null
          ? `${count(found.queue_running)} running, no limit`
          : `${count(found.queue_running)} of ${count(found.queue_capacity)} running`,
      ],
      ...found.limits.map((limit) => [
        `Limit ${limit.name}`,
        [limitText(limit), limit.holds && [" ", badge("held_back", "holds it")]],
      ]),
      ["Its tenant has", found.quota && quotaText(found.quota)],
    ]),
  );
}

function placeOf({ position_min: least, position_max: most }) {
  if (least === null) return null;
  return least === most
    ? `${count(least)} before it`
    : `between ${count(least)} and ${count(most)} before it`;
}

function quotaText({ jobs, jobs_max: most, bytes: size, bytes_max: largest }) {
  const parts = [
    most === null ? null : `${count(jobs)} of ${count(most)} jobs`,
    largest === null ? null : `${bytes(size)} of ${bytes(largest)}`,
  ];
  return parts.filter(Boolean).join("; ");
}

function limitText({ concurrency, running, starts, per, starts_left: left }) {
  const parts = [];
  if (concurrency !== null) parts.push(`${count(running)} of ${count(concurrency)} running`);
  if (starts !== null) parts.push(`${count(left)} of ${count(starts)} starts in ${span(per)} left`);
  return parts.join("; ");
}

function advance(now, { progress: share, details }) {
  const bar = now.querySelector("progress");
  if (!bar) return;
  bar.value = share;
  setText(now.querySelector(".progress .num"), `${Math.round(share * 100)} %`);
  setText(now.querySelector(".details"), details ?? "");
}

// What was asked ---------------------------------------------------------------------------------

function paramsOf(job) {
  const { requirements } = job;
  return [
    panel(
      "About it",
      facts([
        ["Type", job.type ? link(job.type, `#/jobs?type=${part(job.type)}`) : "WASM module"],
        ["Queue", link(job.queue, `#/jobs?queue=${part(job.queue)}`)],
        ["Priority", String(job.priority)],
        ["Owner", `${job.owner} of ${job.tenant_id}`],
        ["Tags", job.tags.length > 0 && h("span", { class: "tags" }, job.tags.map((tag) => link(tag, `#/jobs?tag=${part(tag)}`)))],
        ["Submitted", [time(job.created_at), " (", ago(job.created_at), ")"]],
        ["Asked for", job.scheduled_at && time(job.scheduled_at)],
        ["Start before", job.start_before && time(job.start_before)],
        ["Attempts", attemptsOf(job)],
        ["Timeout", span(job.timeout)],
        ["Kept after its end", keptFor(job.retention)],
        ["Retries", retriesOf(job)],
        ["Runs after", job.after.length > 0 && h("ul", { class: "plain" }, job.after.map((id) => h("li", {}, jobLink(id))))],
        ["However they end", job.after_any_end && "yes"],
        ["Module", job.wasm_sha256 && h("code", {}, job.wasm_sha256)],
        ["Entry point", job.entry_point],
        ["Idempotency key", job.idempotency_key && h("code", {}, job.idempotency_key)],
        ["Trace", job.traceparent && h("code", {}, job.traceparent)],
      ]),
    ),
    Object.keys(requirements).length > 0 && panel("It needs", facts(needs(requirements))),
    job.params !== null && panel("Params", code(json(job.params))),
    job.arguments.length > 0 && panel("Arguments", code(json(job.arguments))),
    Object.keys(job.environment).length > 0 && panel("Environment", code(json(job.environment))),
  ];
}

function retriesOf({ max_retries: most, retry_delay: delay, retry_backoff: backoff }) {
  if (most === 0) return "none";
  if (delay === 0) return `${count(most)}, at once`;
  const later = most > 1 && backoff !== 1 ? `, then ${backoff} times as long each` : "";
  return `${count(most)}, after ${span(delay)}${later}`;
}

function attemptsOf({ attempt, failures, crashes, stops }) {
  const parts = [
    failures && `${count(failures)} failed`,
    crashes && `${count(crashes)} crashed`,
    stops && `${count(stops)} stopped`,
  ].filter(Boolean);
  return parts.length > 0 ? `${count(attempt)}, of which ${parts.join(", ")}` : count(attempt);
}

function needs(found) {
  return [
    ["CPU", found.cpu_cores && `${found.cpu_cores} ${found.cpu_cores === 1 ? "core" : "cores"}`],
    ["Memory", found.memory_mb && megabytes(found.memory_mb)],
    ["Storage", found.storage_mb && megabytes(found.storage_mb)],
    ["GPU", found.gpu_count && String(found.gpu_count)],
    ["GPU type", [found.gpu_type ?? []].flat().join(" or ")],
    ["Labels", Object.entries(found.labels ?? {}).map((pair) => pair.join("=")).join(", ")],
    ["Expected to run", found.duration && String(found.duration)],
  ];
}

function code(text) {
  return h("pre", { class: "code", tabindex: "0" }, plain(text));
}

// What came of it --------------------------------------------------------------------------------

function resultOf(job, ended) {
  if (!ENDED.includes(job.status)) {
    return job.error
      ? panel("Last error", h("pre", { class: "code bad", tabindex: "0" }, plain(job.error)))
      : null;
  }
  const output = ended.output && decoded(ended.output);
  const found = panel(
    "Result",
    facts([
      ["Ended", [time(ended.finished_at), " (", ago(ended.finished_at), ")"]],
      ["Ran for", ended.started_at && between(ended.started_at, ended.finished_at)],
      ["Worker", ended.worker_id],
      ["Code", ended.code && h("code", {}, ended.code)],
      ["Exit code", ended.exit_code === null ? null : String(ended.exit_code)],
      ...Object.entries(ended.metrics).map(([name, value]) => [name, String(value)]),
    ]),
  );
  if (ended.error) add(found, h("pre", { class: "code bad", tabindex: "0" }, plain(ended.error)));
  if (ended.result !== null) add(found, code(json(ended.result)));
  if (output) {
    add(found, h("h3", {}, `Output, ${bytes(output.length)}${ended.output_cut ? ", cut" : ""}`), code(output));
  }
  return found;
}

function decoded(base64) {
  const raw = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(raw);
}
