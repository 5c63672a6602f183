/** Job types: what their jobs get where they say nothing, how many may run, pause and resume. */

import { ask, get, part, put, session } from "./api.js";
import { complain, field, form, open, problemBox, tell } from "./dialog.js";
import { fill, h } from "./dom.js";
import { ago, count, json, span } from "./format.js";
import { keep } from "./live.js";
import { badge, button, empty, facts, head, keptFor, link, pager, table } from "./parts.js";
import { numberOf } from "./queues.js";

export const title = "Types";

const PAGE = 50;

/** A pause of a type is a limit of this name that lets none of its jobs run. */
const pauseOf = (type) => `pause:${type}`;
/** What is set here is a limit of this name. */
const capacityOf = (type) => `type:${type}`;

export function show(main, { signal }) {
  const trouble = h("div");
  const pages = pager(() => look());
  const mayAct = session.mayRun;
  const listed = table(title, columns(mayAct, () => look()), ({ id }) => id, () =>
    empty(
      "No job types",
      "Jobs may have any type. A registered one gives its jobs defaults and checks their params: ",
      h("code", {}, "PUT /api/v1/job-types/NAME"),
      ".",
    ),
  );
  main.append(
    head(title, "Registered types, and those of jobs that wait now. Pause one, or bound how many run."),
    trouble,
    listed.element,
    pages.element,
  );
  const look = keep(
    async () => {
      const [types, demand, limits] = await Promise.all([
        get("/api/v1/job-types", { limit: PAGE, after: pages.cursor }, signal),
        get("/api/v1/demand", { limit: 1000 }, signal),
        mayAct ? get("/api/v1/limits", { limit: 1000 }, signal) : { limits: [] },
      ]);
      return { types, demand, limits };
    },
    ({ types, demand, limits }) => {
      fill(trouble);
      const rows = together(types, demand, limits, pages.first);
      listed.show(rows);
      pages.show(types.next, rows.length);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, look)) },
  );
}

/** Puts registered types, waiting jobs and limits together; types that are not registered first. */
function together(types, demand, limits, first) {
  const waiting = new Map();
  for (const { type, ready } of demand.classes) {
    waiting.set(type, (waiting.get(type) ?? 0) + ready);
  }
  const limitsOf = new Map();
  for (const limit of limits.limits) {
    if (limit.type) limitsOf.set(limit.type, [...(limitsOf.get(limit.type) ?? []), limit]);
  }
  const registered = new Map(types.job_types.map((type) => [type.id, type]));
  const others = first
    ? [...new Set([...waiting.keys(), ...limitsOf.keys()])].filter((id) => !registered.has(id))
    : [];
  return [...others.map((id) => ({ id })), ...types.job_types].map((type) => {
    const own = limitsOf.get(type.id) ?? [];
    return {
      id: type.id,
      type: registered.get(type.id) ?? null,
      waiting: waiting.get(type.id) ?? 0,
      paused: own.find(({ name }) => name === pauseOf(type.id)) ?? null,
      limits: own.filter(({ name }) => name !== pauseOf(type.id)),
    };
  });
}

function columns(mayAct, then) {
  return [
    {
      title: "Type",
      cell: ({ id, type, paused }) => [
        link(id, `#/jobs?type=${part(id)}`),
        paused && [" ", badge("paused")],
        h("small", {}, type ? type.name || type.description : "not registered"),
      ],
    },
    { title: "Waiting", kind: "num", cell: ({ waiting }) => count(waiting) },
    {
      title: "Running at once",
      cell: ({ limits }) =>
        limits.length === 0 ? "no limit" : limits.map((limit) => h("div", {}, limitText(limit))),
    },
    { title: "Queue", kind: "wide", cell: ({ type }) => type?.queue ?? "–" },
    { title: "Group", kind: "wide", cell: ({ type }) => type?.group ?? "–" },
    { title: "Timeout", kind: "num wide", cell: ({ type }) => span(type?.timeout) },
    {
      title: "Retries",
      kind: "num wide",
      cell: ({ type }) => count(type?.max_retries ?? null),
    },
    {
      title: "",
      kind: "acts",
      cell: (row) => [
        mayAct &&
          button(row.paused ? "Resume" : "Pause", () => turn(row).then(then), {
            focus: "turn",
            label: `${row.paused ? "Resume" : "Pause"} ${row.id}`,
          }),
        mayAct &&
          button("Limit", () => bound(row).then(then), {
            focus: "limit",
            label: `Limit ${row.id}`,
          }),
        row.type &&
          button("Details", () => details(row.type), {
            focus: "details",
            label: `Details of ${row.id}`,
          }),
      ],
    },
  ];
}

function limitText({ running, concurrency, rate }) {
  const parts = [];
  if (concurrency !== null) parts.push(`${count(running)} of ${count(concurrency)}`);
  if (rate) parts.push(`${count(rate.starts)} starts in ${span(rate.per)}`);
  return parts.join("; ");
}

async function turn({ id, paused }) {
  try {
    if (paused) await ask("DELETE", `/api/v1/limits/${part(paused.name)}`);
    else {
      const limit = { type: id, concurrency: 0, description: "Paused" };
      await put(`/api/v1/limits/${part(pauseOf(id))}`, limit, 0);
    }
    tell(`${id}: ${paused ? "its jobs are given out again" : "none of its jobs is given out"}`);
  } catch (problem) {
    complain(problem);
  }
}

async function bound({ id, limits }) {
  const known = limits.find(({ name }) => name === capacityOf(id));
  const most = field("concurrency", "Jobs that run at once", {
    type: "number",
    min: 0,
    value: known?.concurrency ?? "",
    hint: "Empty: no limit",
  });
  const made = await form({
    title: `Limit ${id}`,
    text: "It holds from the next job that is given out; what runs goes on.",
    fields: [most],
    act: "Save",
    send: async ({ concurrency }) => {
      const path = `/api/v1/limits/${part(capacityOf(id))}`;
      const wanted = numberOf(concurrency);
      if (wanted === null) return known ? ask("DELETE", path) : { name: id };
      return put(path, { type: id, concurrency: wanted }, known?.version ?? 0);
    },
  });
  if (made) tell(`${id}: saved`);
}

function details(type) {
  const found = type.params_schema;
  return open(
    type.id,
    (close) => [
      type.description && h("p", {}, type.description),
      facts([
        ["Queue", type.queue],
        ["Group", type.group],
        ["Timeout", type.timeout === null ? null : span(type.timeout)],
        ["Retries", type.max_retries === null ? null : count(type.max_retries)],
        ["Retry delay", type.retry_delay === null ? null : span(type.retry_delay)],
        ["Priority", type.priority === null ? null : String(type.priority)],
        ["Can be suspended", type.suspendable ? "yes" : "no"],
        ["Kept after its end", keptFor(type.retention) ?? "as the configuration says"],
        ["Changed", [ago(type.changed_at), ` by ${type.changed_by}`]],
      ]),
      found && [h("h3", {}, "Schema of the params"), h("pre", { class: "code", tabindex: "0" }, json(found))],
      h("div", { class: "buttons" }, button("Close", () => close(null), { kind: "primary" })),
    ],
    { wide: true },
  );
}
