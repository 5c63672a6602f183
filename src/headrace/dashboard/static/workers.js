/** Workers: what they have and what is free of it, what they run, and draining them. */

import { ask, get, part, post, Problem } from "./api.js";
import { complain, confirm, problemBox, tell } from "./dialog.js";
import { fill, h, renew } from "./dom.js";
import { ago, count, time } from "./format.js";
import { keep } from "./live.js";
import {
  badge,
  breakable,
  button,
  empty,
  facts,
  head,
  jobLink,
  link,
  pager,
  panel,
  progress,
  resources,
  table,
} from "./parts.js";

export const title = "Workers";

export function show(main, { signal }) {
  const trouble = h("div");
  const pages = pager(() => look());
  const listed = table(title, columns(() => look()), ({ name, tenant_id: tenant }) => `${tenant} ${name}`, () =>
    empty(
      "No worker was heard of lately",
      "Start one: ",
      h("code", {}, "headrace work"),
      ", or with handlers of your own ",
      h("code", {}, "headrace work mymodule:worker"),
      ".",
    ),
  );
  main.append(
    head(title, "Those heard of in the last minutes, and those that were told to drain."),
    trouble,
    listed.element,
    pages.element,
  );
  const look = keep(
    () => get("/api/v1/workers", { limit: 50, cursor: pages.cursor }, signal),
    ({ workers, next }) => {
      fill(trouble);
      listed.show(workers);
      pages.show(next, workers.length);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, look)) },
  );
}

function place({ name, tenant_id: tenant }) {
  return `#/workers/${part(name)}${tenant ? `?tenant=${part(tenant)}` : ""}`;
}

function columns(then) {
  return [
    {
      title: "Worker",
      cell: (worker) => [
        link(worker.name, place(worker)),
        h("small", {}, worker.tenant_id ? `of ${worker.tenant_id}` : "of all tenants"),
      ],
    },
    {
      title: "Status",
      cell: ({ status, order }) => [badge(status), order === "quit" && h("small", {}, "told to quit")],
    },
    { title: "Running", kind: "num", cell: ({ running }) => count(running) },
    {
      title: "In use",
      kind: "wide",
      cell: ({ free, total }) => resources(free, total) ?? "–",
    },
    { title: "Serves", kind: "wide", cell: ({ serve }) => serves(serve) },
    { title: "Heard of", kind: "wide", cell: ({ last_seen_at: at }) => ago(at) },
    { title: "", kind: "acts", cell: (worker) => orders(worker, then) },
  ];
}

function serves(serve) {
  if (!serve) return "–";
  const all = !serve.types || serve.types.includes("*");
  const parts = [
    all ? "all types" : serve.types.join(", "),
    serve.wasm && "WASM",
    serve.queues && `queues ${serve.queues.join(", ")}`,
  ];
  const text = parts.filter(Boolean).join("; ");
  return h("span", { class: "clip", title: text }, text);
}

function orders(worker, then) {
  const { name, order } = worker;
  const make = (word, act, more) =>
    button(word, () => tellWorker(worker, act).then(then), {
      focus: act,
      label: `${word} ${name}`,
      ...more,
    });
  if (order) return make("Give jobs again", "undrain");
  return [make("Drain", "drain"), make("Quit", "quit", { kind: "danger quiet" })];
}

const ORDERS = {
  drain: {
    word: "Drain",
    text: "It gets no more jobs; what it runs goes on. That holds until it is given jobs again.",
    told: "gets no more jobs",
  },
  quit: {
    word: "Quit",
    text: "It gets no more jobs, and its process ends when those it has are done.",
    told: "is told to end",
    danger: true,
  },
};

async function tellWorker({ name, tenant_id: tenant }, act) {
  const query = tenant ? { tenant } : {};
  const path = `/api/v1/workers/${part(name)}`;
  const order = ORDERS[act];
  if (order) {
    const { word, text, danger } = order;
    if (!(await confirm({ title: `${word} ${name}?`, text, act: word, danger }))) return;
  }
  try {
    if (order) await post(`${path}/${act}`, undefined, query);
    else await ask("DELETE", `${path}/drain`, { query });
    tell(`${name} ${order ? order.told : "gets jobs again"}`);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    complain(error);
  }
}

// One --------------------------------------------------------------------------------------------

export const one = { title: "Worker", show: showOne };

function showOne(main, { name, query, signal }) {
  const top = h("div");
  const about = h("div");
  const held = table(
    "Jobs in its hands",
    [
      { title: "Job", cell: ({ job_id: id }) => jobLink(id) },
      { title: "Attempt", kind: "num", cell: ({ attempt }) => count(attempt) },
      {
        title: "Progress",
        cell: ({ progress: share, progress_details: details }) => [
          progress(share, "Progress"),
          details && h("small", {}, details),
        ],
      },
      { title: "Started", kind: "wide", cell: ({ started_at: at }) => ago(at) },
      { title: "Deadline", kind: "wide", cell: ({ deadline }) => time(deadline) },
    ],
    ({ job_id: id }) => id,
    () => empty("It runs nothing", "A job that it is given shows here."),
  );
  const body = h("div", { class: "stack", hidden: true }, about, panel("Jobs in its hands", held.element));
  main.append(top, body);
  fill(top, head(name));
  const look = keep(
    () => get(`/api/v1/workers/${part(name)}`, { tenant: query.get("tenant") }, signal),
    (worker) => {
      body.hidden = false;
      renew(top, [worker.name, worker.status, worker.order], () =>
        head(
          h("span", { class: "row" }, h("span", {}, breakable(worker.name)), badge(worker.status)),
          null,
          orders(worker, () => look()),
        ),
      );
      fill(
        about,
        panel(
          "About it",
          facts([
            ["Tenant", worker.tenant_id ?? "all tenants"],
            ["Serves", serves(worker.serve)],
            ["Labels", Object.entries(worker.labels ?? {}).map((pair) => pair.join("=")).join(", ")],
            ["Heard of", ago(worker.last_seen_at)],
            ["Session", worker.session && h("code", {}, worker.session)],
            ["Key", worker.key_id && h("code", {}, worker.key_id)],
            ["Told", worker.order && [`${worker.order} by ${worker.ordered_by}, `, ago(worker.ordered_at)]],
          ]),
          h("div", { class: "usages" }, resources(worker.free, worker.total)),
        ),
      );
      held.show(worker.leases);
    },
    signal,
    {
      failed: (problem) => {
        body.hidden = true;
        fill(top, head(name), problemBox(problem, look));
      },
    },
  );
}
