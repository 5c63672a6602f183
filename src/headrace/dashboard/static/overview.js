/** The overview: how the server does now, how it did in the last hour, and what wants a look. */

import { get, session } from "./api.js";
import { problemBox } from "./dialog.js";
import { fill, h, keyed, setText } from "./dom.js";
import { bytes, count, rate, short, span } from "./format.js";
import { keep, onSample } from "./live.js";
import { badge, empty, head, link, panel, table } from "./parts.js";
import { plot } from "./plot.js";

export const title = "Overview";

const RANGES = [
  ["300", "5 min"],
  ["900", "15 min"],
  ["3600", "1 hour"],
];
/** Tiles and plots follow each sample; the rest is asked for. */
const REST_SAMPLES = 2;
const QUEUES_SHOWN = 8;
const CLASSES_SHOWN = 6;

const TILES = [
  ["submitted", "Submitted", (s) => rate(s.submitted), "jobs/s"],
  ["completed", "Completed", (s) => rate(s.completed), "jobs/s"],
  ["failed", "Failed", (s) => rate(s.failed), "jobs/s", "#/dead"],
  ["queued", "Waiting", (s) => short(s.queued), "ready to run", "#/jobs?status=queued"],
  ["running", "Running", (s) => short(s.running), "in workers' hands", "#/jobs?status=running"],
  ["scheduled", "Scheduled", (s) => short(s.scheduled), "for later", "#/jobs?status=scheduled"],
  ["suspended", "Suspended", (s) => short(s.suspended), "set aside", "#/jobs?status=suspended"],
  ["workers", "Workers", (s) => short(s.workers), (s) => `${short(s.workers_busy)} with jobs`],
];

export function show(main, { signal }) {
  const range = ranges();
  const plots = makePlots(signal);
  const tiles = makeTiles();
  const trouble = h("div");
  const queues = queueTable();
  const wanted = h("div", { class: "stack" });
  main.append(
    head(title, null, range.element),
    trouble,
    h("h2", { class: "unseen" }, "Now"),
    tiles.element,
    h("div", { class: "plots" }, plots.map(({ made }) => made.element)),
    h(
      "div",
      { class: "halves" },
      panel(
        h("span", { class: "row" }, "Busiest queues ", link("All queues", "#/queues")),
        queues.element,
      ),
      panel("What wants a look", wanted),
    ),
  );

  let columns = null;
  function draw() {
    if (!columns?.at.length) return;
    const last = columns.at.at(-1);
    const from = last - Number(range.read());
    const first = columns.at.findIndex((at) => at >= from);
    for (const { names, made } of plots) {
      made.show(["at", ...names].map((name) => columns[name].slice(first)), [from, last]);
    }
  }
  range.changed = draw;
  get("/api/v1/stats/history", {}, signal)
    .then((found) => {
      columns = found.columns;
      onSample((sample) => {
        if (sample.at > (columns.at.at(-1) ?? 0)) {
          for (const name of Object.keys(columns)) columns[name].push(sample[name]);
        }
        draw();
        tiles.show(sample);
      }, signal);
    })
    .catch((problem) => {
      if (!signal.aborted) fill(trouble, problemBox(problem));
    });

  keep(
    async () => {
      const [listed, demand, stats] = await Promise.all([
        get("/api/v1/queues", { limit: 100 }, signal),
        get("/api/v1/demand", { limit: 20 }, signal),
        get("/api/v1/stats", {}, signal),
      ]);
      return { listed, demand, stats };
    },
    ({ listed, demand, stats }) => {
      fill(trouble);
      const busiest = listed.queues
        .map((queue) => ({ ...queue, load: queue.depth + queue.running }))
        .filter(({ load, paused }) => load > 0 || paused)
        .sort((a, b) => b.load - a.load || (a.name < b.name ? -1 : 1));
      queues.show(
        busiest
          .slice(0, QUEUES_SHOWN)
          .map(({ name, depth, running, capacity, paused }) => ({
            name,
            depth,
            running,
            capacity,
            paused,
          })),
      );
      showWanted(wanted, looks(listed, demand, stats));
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem)), every: () => REST_SAMPLES },
  );
}

function ranges() {
  const found = { changed: () => {} };
  const boxes = RANGES.map(([seconds, text], at) => {
    const box = h("input", {
      type: "radio",
      name: "range",
      value: seconds,
      checked: at === 1,
      onchange: () => found.changed(),
    });
    return [box, h("label", {}, box, h("span", {}, text))];
  });
  found.element = h(
    "fieldset",
    { class: "segments" },
    h("legend", { class: "unseen" }, "How far back"),
    boxes.map(([, label]) => label),
  );
  found.read = () => boxes.find(([box]) => box.checked)[0].value;
  return found;
}

function makeTiles() {
  const values = new Map();
  const element = h(
    "ul",
    { class: "tiles" },
    TILES.map(([name, label, , about, href]) => {
      const value = h("span", { class: "value num" }, "–");
      const below = h("span", { class: "below" }, typeof about === "string" ? about : "");
      values.set(name, [value, below]);
      const inner = [h("span", { class: "label" }, label), value, below];
      return h("li", { class: name }, href ? h("a", { href }, inner) : h("div", {}, inner));
    }),
  );
  return {
    element,
    show(sample) {
      for (const [name, , read, about] of TILES) {
        const [value, below] = values.get(name);
        setText(value, read(sample));
        if (typeof about === "function") setText(below, about(sample));
      }
    },
  };
}

function makePlots(signal) {
  const make = (names, options) => ({ names, made: plot({ ...options, signal }) });
  return [
    make(["submitted", "completed", "failed"], {
      title: "Throughput",
      unit: "jobs/s",
      format: rate,
      series: [
        { label: "submitted", line: "a" },
        { label: "completed", line: "b" },
        { label: "failed", line: "c" },
      ],
    }),
    make(["queued", "running"], {
      title: "Depth",
      unit: "jobs",
      format: (value) => (value === null ? "–" : short(value)),
      whole: true,
      series: [
        { label: "waiting", line: "a" },
        { label: "running", line: "b" },
      ],
    }),
    make(["wait_p50", "wait_p99"], {
      title: "Wait",
      unit: "from ready to start",
      format: span,
      series: [
        { label: "half below", line: "a" },
        { label: "99 % below", line: "d" },
      ],
    }),
    make(["run_p50", "run_p99"], {
      title: "Run time",
      unit: "from start to end",
      format: span,
      series: [
        { label: "half below", line: "a" },
        { label: "99 % below", line: "d" },
      ],
    }),
  ];
}

function queueTable() {
  return table(
    "Busiest queues",
    [
      {
        title: "Queue",
        cell: ({ name, paused }) => [
          link(name, `#/jobs?queue=${encodeURIComponent(name)}`),
          paused && [" ", badge("paused")],
        ],
      },
      { title: "Waiting", kind: "num", cell: ({ depth }) => count(depth) },
      { title: "Running", kind: "num", cell: ({ running }) => count(running) },
      {
        title: "Capacity",
        kind: "num",
        cell: ({ capacity }) => (capacity === null ? "no limit" : count(capacity)),
      },
    ],
    ({ name }) => name,
    () => empty("All queues are empty", "What is submitted and runs shows here."),
  );
}

// What wants a look ------------------------------------------------------------------------------

/** Things that may need somebody, the most pressing first: kind, text, where to look. */
function looks(listed, demand, stats) {
  const found = [];
  const jobs = (number, one, more = one) =>
    `${count(number)} ${number === 1 ? `job ${one}` : `jobs ${more}`}`;
  if (demand.never.jobs) {
    found.push({
      kind: "never",
      word: "no fit",
      text: `${jobs(demand.never.jobs, "asks", "ask")} for what no known worker has`,
      href: "#/jobs?status=queued",
    });
  }
  if (demand.unknown.jobs) {
    found.push({
      kind: "unknown",
      word: "no workers",
      text: `${jobs(demand.unknown.jobs, "waits", "wait")} and no worker is known`,
      href: session.may("admin") ? "#/workers" : "#/jobs?status=queued",
    });
  }
  if (demand.busy.jobs) {
    found.push({
      kind: "busy",
      word: "busy",
      text: `${jobs(demand.busy.jobs, "waits", "wait")} for workers that are busy`,
      href: "#/jobs?status=queued",
    });
  }
  if (demand.held_back.jobs) {
    found.push({
      kind: "held_back",
      word: "held back",
      text: `${jobs(demand.held_back.jobs, "is", "are")} held back by a pause, a capacity or a limit`,
      href: "#/queues",
    });
  }
  const { failed, timeout, crashed } = stats.jobs;
  if (failed + timeout) {
    found.push({
      kind: "failed",
      word: "failed",
      text: `${jobs(failed + timeout, "failed or timed out")} since the server started`,
      href: "#/dead",
    });
  }
  if (crashed) {
    found.push({
      kind: "silent",
      word: "crashed",
      text: `${count(crashed)} times a worker was not heard of any more`,
      href: session.may("admin") ? "#/workers" : "#/jobs?status=dead",
    });
  }
  if (stats.store.bytes_free !== null && stats.store.bytes_free < 2 ** 30) {
    found.push({
      kind: "failed",
      word: "disk",
      text: `only ${bytes(stats.store.bytes_free)} left for the store`,
      href: null,
    });
  }
  return found.slice(0, CLASSES_SHOWN);
}

function showWanted(place, found) {
  if (found.length === 0) {
    fill(place, empty("Nothing", "All that waits can run, and nothing has failed."));
    return;
  }
  let list = place.querySelector("ul");
  if (!list) {
    list = h("ul", { class: "looks" });
    fill(place, list);
  }
  keyed(
    list,
    found,
    ({ word }) => word,
    ({ kind, word, text, href }) =>
      h("li", {}, badge(kind, word), href ? link(text, href) : h("span", {}, text)),
  );
}
