/** Jobs: found by any filter of the API, page by page, and acted on, one, some or all of them. */

import { get } from "./api.js";
import { ACTS, actButtons } from "./act.js";
import { actOnAll, actOnSome, running } from "./bulk.js";
import { problemBox } from "./dialog.js";
import { fill, h, setText } from "./dom.js";
import { ago, count } from "./format.js";
import { keep } from "./live.js";
import { badge, button, empty, head, jobLink, pager, progress, table } from "./parts.js";

export const title = "Jobs";

const LIMIT = 50;
/** Words of the API by what they are called here. */
const STATUSES = [
  ["Waiting", ["queued", "resuming"]],
  ["Running", ["running", "locked", "suspending", "canceling"]],
  ["Scheduled", ["scheduled"]],
  ["Initializing", ["initializing"]],
  ["Suspended", ["suspended"]],
  ["Completed", ["completed"]],
  ["Failed", ["failed"]],
  ["Timed out", ["timeout"]],
  ["Cancelled", ["cancelled"]],
  ["Skipped", ["skipped"]],
];
const ORDERS = [
  ["", "Newest first"],
  ["created_at", "Oldest first"],
  ["-finished_at", "Ended last first"],
  ["scheduled_at", "Due first"],
  ["-priority", "Most urgent first"],
  ["-updated_at", "Changed last first"],
];
/** Name of the parameter, label, attributes; the first ones are always shown. */
const FIELDS = [
  ["type", "Type", { placeholder: "any" }],
  ["queue", "Queue", { placeholder: "any" }],
  ["name_prefix", "Name begins with", { placeholder: "anything" }],
  ["owner", "Owner", {}],
  ["group", "Group", {}],
  ["tag", "Tag", {}],
  ["label", "Label", { placeholder: "key or key=value" }],
  ["name", "Exact name", {}],
  ["submitted_after", "Submitted from", { type: "datetime-local" }],
  ["submitted_before", "Submitted before", { type: "datetime-local" }],
  ["finished_after", "Ended from", { type: "datetime-local" }],
  ["finished_before", "Ended before", { type: "datetime-local" }],
];
const ALWAYS = 3;
const TYPING_MS = 350;

export function show(main, place) {
  main.append(head(title));
  list(main, place, { caption: "Jobs", columns: columnsOf, statuses: STATUSES });
}

/**
 * A list of jobs with all that belongs to it. `fallback`: the status that is asked for where no
 * filter says one; `nothing`: what stands there if there are none.
 */
export function list(main, { query, signal }, { caption, columns, statuses, fallback, nothing }) {
  const trouble = h("div");
  const filters = makeFilters(query, statuses, fallback, () => {
    pages.reset();
    selected.clear();
    look();
  });
  const pages = pager(() => {
    selected.clear();
    look();
  });
  const selected = new Set();
  let shown = [];
  let more = false;

  const live = h("input", { type: "checkbox", checked: true });
  const bar = actBar({
    some: (act) => actOnSome(act, shown.filter((job) => selected.has(job.id))).then(acted),
    all: (act) => actOnAll(act, filters.read()).then(acted),
    live,
  });
  function acted() {
    selected.clear();
    look();
    bulks.look();
  }
  function select(id, is) {
    if (is) selected.add(id);
    else selected.delete(id);
    bar.show(selected.size);
  }

  const listed = table(
    caption,
    [
      {
        title: h("span", { class: "unseen" }, "Select"),
        kind: "tick",
        cell: (job) =>
          h("input", {
            type: "checkbox",
            "aria-label": `Select ${job.name}`,
            "data-focus": "select",
            checked: selected.has(job.id),
            onchange: (event) => select(job.id, event.target.checked),
          }),
      },
      ...columns(() => look()),
    ],
    ({ id }) => id,
    () => {
      if (more) return empty("No job matches so far", "Next looks further back; a narrower filter is quicker.");
      if (filters.any()) return empty("No job matches", "Take a filter away, or look at all jobs.");
      return (nothing ?? noJobs)();
    },
  );
  const bulks = running(signal);
  main.append(filters.element, bulks.element, trouble, bar.element, listed.element, pages.element);

  const look = keep(
    () =>
      get(
        "/api/v1/jobs",
        { ...filters.asked(), limit: LIMIT, cursor: pages.cursor },
        signal,
      ),
    ({ jobs, next }) => {
      fill(trouble);
      shown = jobs;
      const ids = new Set(jobs.map(({ id }) => id));
      for (const id of selected) if (!ids.has(id)) selected.delete(id);
      more = Boolean(next);
      listed.show(jobs.map(light));
      for (const box of listed.body.querySelectorAll("input")) {
        box.checked = selected.has(box.closest("tr").dataset.key);
      }
      pages.show(next, jobs.length);
      bar.show(selected.size);
    },
    signal,
    {
      failed: (problem) => fill(trouble, problemBox(problem, look)),
      paused: () => !live.checked || !pages.first || selected.size > 0,
    },
  );
}

/** What a row shows of a job, and no more: a change of the rest leaves the row as it is. */
function light(job) {
  const { id, name, type, queue, status, priority, attempt, failures, progress: share } = job;
  const { created_at, finished_at, scheduled_at, error, progress_details: details } = job;
  return {
    ...{ id, name, type, queue, status, priority, attempt, failures, share, details },
    ...{ created_at, finished_at, scheduled_at, error: error?.slice(0, 300) },
  };
}

function noJobs() {
  return empty(
    "No jobs yet",
    "Submit one: ",
    h("code", {}, `headrace submit echo --params '{"hello": "world"}'`),
    ", or POST to ",
    h("code", {}, "/api/v1/jobs"),
    ".",
  );
}

export function nameCell({ id, name, type, queue }) {
  return [
    jobLink(id, name),
    h("small", { class: "mono" }, id),
    h("small", { class: "narrow" }, `${type ?? "WASM"} · ${queue}`),
  ];
}

/** A name in a narrow column; whole when it is pointed at. */
export function clipped(text) {
  return h("span", { class: "clip short", title: text }, text);
}

export function statusCell({ status, share, details }) {
  const runs = status === "running" || status === "suspending";
  return [
    badge(status),
    runs && share > 0 && progress(share, "Progress"),
    runs && details && h("small", {}, details),
  ];
}

function columnsOf(then) {
  return [
    { title: "Job", kind: "name", cell: nameCell },
    { title: "Status", cell: statusCell },
    { title: "Type", kind: "wide", cell: ({ type }) => clipped(type ?? "WASM") },
    { title: "Queue", kind: "wide", cell: ({ queue }) => clipped(queue) },
    { title: "Priority", kind: "num wide", cell: ({ priority }) => priority },
    { title: "Attempt", kind: "num wide", cell: ({ attempt }) => count(attempt) },
    { title: "Submitted", kind: "wide", cell: ({ created_at: at }) => ago(at) },
    { title: "Ended", kind: "wide", cell: ({ finished_at: at }) => ago(at) },
    { title: "", kind: "acts wide", cell: (job) => actButtons(job, then) },
  ];
}

// Acts on many -----------------------------------------------------------------------------------

function actBar({ some, all, live }) {
  const said = h("span", { class: "said" });
  const buttons = h(
    "span",
    { class: "row" },
    Object.entries(ACTS).map(([act, { word, danger }]) =>
      button(word, () => some(act), { kind: danger ? "danger quiet" : null }),
    ),
  );
  const choice = h(
    "select",
    {
      "aria-label": "Act on all jobs that match",
      onchange: () => {
        const act = choice.value;
        choice.value = "";
        if (act) all(act);
      },
    },
    h("option", { value: "" }, "All that match…"),
    Object.entries(ACTS).map(([act, { word }]) => h("option", { value: act }, `${word} all`)),
  );
  const element = h(
    "div",
    { class: "bar", role: "group", "aria-label": "Acts" },
    h("label", { class: "tick" }, live, h("span", {}, "Live")),
    h("span", { class: "row end" }, said, buttons, choice),
  );
  const show = (selected) => {
    setText(said, selected ? `${count(selected)} selected:` : "");
    buttons.hidden = selected === 0;
    choice.hidden = selected > 0;
  };
  show(0);
  return { element, show };
}

// Filters ----------------------------------------------------------------------------------------

function makeFilters(query, statuses, fallback, changed) {
  const asked = new Set((query.get("status") ?? "").split(",").filter(Boolean));
  const chips = statuses.map(([text, words]) => {
    const checked = words.some((word) => asked.has(word));
    const box = h("input", { type: "checkbox", checked, onchange: apply });
    return { box, words, element: h("label", { class: "chip" }, box, h("span", {}, text)) };
  });
  let typing = 0;
  function typed() {
    clearTimeout(typing);
    typing = setTimeout(apply, TYPING_MS);
  }
  const fields = FIELDS.map(([name, label, attributes]) => {
    const value = query.get(name) ?? "";
    const input = h("input", { name, value, autocomplete: "off", oninput: typed, ...attributes });
    return { name, input, element: h("label", {}, h("span", {}, label), input) };
  });
  const order = h(
    "select",
    { onchange: apply },
    ORDERS.map(([word, text]) =>
      h("option", { value: word, selected: word === (query.get("order") ?? "") }, text),
    ),
  );
  const rest = fields.slice(ALWAYS);
  const more = h(
    "details",
    { open: rest.some(({ input }) => input.value) },
    h("summary", {}, "More filters"),
    h("div", { class: "fields" }, rest.map(({ element }) => element)),
  );
  const clear = button("Clear", () => {
    for (const { box } of chips) box.checked = false;
    for (const { input } of fields) input.value = "";
    order.value = "";
    apply();
  });
  const element = h(
    "form",
    { class: "filters", role: "search", "aria-label": "Filters", onsubmit: submitted },
    chips.length > 0 &&
      h(
        "fieldset",
        { class: "chips" },
        h("legend", { class: "unseen" }, "Status"),
        chips.map((chip) => chip.element),
      ),
    h(
      "div",
      { class: "fields" },
      fields.slice(0, ALWAYS).map((one) => one.element),
      h("label", {}, h("span", {}, "Order"), order),
      clear,
    ),
    more,
  );

  function submitted(event) {
    event.preventDefault();
    clearTimeout(typing);
    apply();
  }
  /** What the filters say, as the API's parameters. */
  function said() {
    const found = {};
    const words = chips.filter(({ box }) => box.checked).flatMap((chip) => chip.words);
    if (words.length > 0) found.status = words.join(",");
    for (const { name, input } of fields) {
      const value = input.value.trim();
      if (!value) continue;
      const instant = input.type === "datetime-local";
      found[name] = instant ? new Date(value).toISOString() : value;
    }
    return found;
  }
  function read() {
    return fallback ? { status: fallback, ...said() } : said();
  }
  /** Has the address say the same, so that it can be kept or sent to somebody. */
  function apply() {
    const found = new URLSearchParams(said());
    for (const { name, input } of fields) {
      if (input.type === "datetime-local" && input.value) found.set(name, input.value);
    }
    if (order.value) found.set("order", order.value);
    const page = location.hash.split("?")[0];
    history.replaceState(null, "", found.size ? `${page}?${found}` : page);
    show();
    changed();
  }
  const any = () => Object.keys(said()).length > 0;
  const show = () => {
    clear.hidden = !any() && !order.value;
  };
  show();
  return { element, read, any, asked: () => ({ ...read(), order: order.value }) };
}
