/** Parts that several pages share: badges, tables, pages of a list, bars. */

import { h, fill, keyed, setText } from "./dom.js";
import { count, megabytes, percent, span } from "./format.js";

const BREAK_CHARS = 16;

// Statuses ---------------------------------------------------------------------------------------

/** What a status is like: its colour and mark. Its word always stands beside them. */
const KINDS = {
  initializing: "waits",
  scheduled: "waits",
  queued: "waits",
  resuming: "waits",
  locked: "runs",
  running: "runs",
  suspending: "stops",
  canceling: "stops",
  suspended: "rests",
  completed: "good",
  failed: "bad",
  timeout: "bad",
  cancelled: "over",
  skipped: "over",
  active: "good",
  draining: "stops",
  drained: "rests",
  silent: "bad",
  live: "good",
  expired: "over",
  revoked: "over",
  pending: "waits",
  delivered: "good",
  paused: "rests",
  open: "good",
  enabled: "good",
  disabled: "rests",
  busy: "waits",
  never: "bad",
  unknown: "over",
  held_back: "rests",
};

export function badge(status, text = status.replace("_", " ")) {
  return h(
    "span",
    { class: `badge ${KINDS[status] ?? "over"}` },
    h("span", { class: "mark", "aria-hidden": "true" }),
    text,
  );
}

// Pages ------------------------------------------------------------------------------------------

/** The head of a page: its name, a line about it, and what can be done. */
export function head(title, about, ...acts) {
  return h(
    "header",
    { class: "head" },
    h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, title),
      about && h("p", { class: "about" }, about),
    ),
    acts.length > 0 && h("div", { class: "acts" }, acts),
  );
}

export function panel(title, ...children) {
  return h("section", { class: "panel" }, title && h("h2", {}, title), children);
}

/** What stands where there is nothing yet: what it would be, and what to do. */
export function empty(title, ...about) {
  return h("div", { class: "empty" }, h("strong", {}, title), h("p", {}, about));
}

export function button(text, act, { kind, label, focus, ...more } = {}) {
  const attributes = { "aria-label": label, "data-focus": focus, class: kind, ...more };
  return h("button", { type: "button", onclick: act, ...attributes }, text);
}

export function link(text, href, attributes = {}) {
  const whole = attributes.class === "clip";
  return h("a", { href, ...attributes }, whole ? text : breakable(text));
}

/** A long name that may be broken behind its signs, and only where that is not enough elsewhere. */
export function breakable(text) {
  if (typeof text !== "string" || text.length < BREAK_CHARS) return text;
  return text.split(/(?<=[./@:_])/).flatMap((piece, at) => (at ? [h("wbr"), piece] : [piece]));
}

export function jobLink(id, text = id) {
  return link(text, `#/jobs/${id}`, { class: text === id ? "mono" : null });
}

// Tables -----------------------------------------------------------------------------------------

/**
 * A table whose rows stay while what they show stays.
 * `columns`: title, kind ("num", "wide": only where there is room, "acts"), and cell: item => content.
 */
export function table(caption, columns, keyOf, nothing) {
  // The roles are said, since a table that is shown as cards on a phone would lose them.
  const body = h("tbody", { role: "rowgroup" });
  const whole = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { role: "table" },
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          columns.map(({ title, kind }) =>
            h(
              "th",
              { scope: "col", role: "columnheader", class: kind },
              title || h("span", { class: "unseen" }, "Acts"),
            ),
          ),
        ),
      ),
      body,
    ),
  );
  const none = h("div", { hidden: true });
  const element = h("div", { class: "table", hidden: true }, whole, none);
  const heading = columns.findIndex(({ kind }) => kind !== "tick");
  function row(item) {
    return h(
      "tr",
      { role: "row" },
      columns.map(({ title, kind, cell }, at) => {
        if (at === heading) {
          return h("th", { scope: "row", role: "rowheader", class: kind }, cell(item));
        }
        const label = (typeof title === "string" && title) || null;
        return h("td", { role: "cell", class: kind, "data-label": label }, cell(item));
      }),
    );
  }
  function show(items) {
    element.hidden = false;
    whole.hidden = items.length === 0;
    none.hidden = items.length > 0;
    if (items.length === 0) fill(none, nothing());
    keyed(body, items, keyOf, row);
  }
  return { element, show, body };
}

/**
 * The pages of a list that goes on by cursors: `next` of each page leads to the one behind it.
 * `turned` is called when another page is wanted; `cursor` is where it begins.
 */
export function pager(turned) {
  let before = [];
  let following = null;
  const place = h("span", { class: "place" });
  const turn = (cursors) => {
    before = cursors;
    turned();
  };
  const back = button("Back", () => turn(before.slice(0, -1)), { focus: "back" });
  const on = button("Next", () => turn([...before, following]), { focus: "next" });
  const element = h("nav", { class: "pager", "aria-label": "Pages", hidden: true }, back, place, on);
  return {
    element,
    get cursor() {
      return before.at(-1) ?? null;
    },
    get first() {
      return before.length === 0;
    },
    reset() {
      before = [];
    },
    show(next, shown) {
      following = next;
      back.disabled = before.length === 0;
      on.disabled = !next;
      element.hidden = before.length === 0 && !next;
      setText(place, `Page ${before.length + 1}, ${count(shown)} shown`);
    },
  };
}

// Bars -------------------------------------------------------------------------------------------

/** How far something is, from 0 to 1. */
export function progress(share, label) {
  return h(
    "span",
    { class: "progress" },
    h("progress", { max: 1, value: share, "aria-label": label }),
    h("span", { class: "num" }, percent(share)),
  );
}

/** How much of a resource is in use. */
export function usage(label, free, total, show = count) {
  if (!total) return null;
  const used = free === null || free === undefined ? 0 : Math.max(0, total - free);
  return h(
    "div",
    { class: "usage" },
    label && h("span", { class: "of" }, label),
    h("meter", {
      min: 0,
      max: total,
      value: used,
      "aria-label": `${label || "Capacity"} in use`,
    }),
    h("span", { class: "num" }, `${show(used)} of ${show(total)}`),
  );
}

export function resources(free, total) {
  if (!total) return null;
  const number = (value) => String(Number(value.toFixed(2)));
  return [
    usage("CPU", free?.cpu_cores, total.cpu_cores, number),
    usage("Memory", free?.memory_mb, total.memory_mb, megabytes),
    usage("Storage", free?.storage_mb, total.storage_mb, megabytes),
    usage(total.gpu_type ? `GPU ${total.gpu_type}` : "GPU", free?.gpu_count, total.gpu_count, number),
  ];
}

/** Pairs of a name and a value; pairs without a value are left out. */
export function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value || value === 0)
      .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** How long a finished job is kept, in words; null: nothing was said of it. */
export function keptFor(retention) {
  if (retention === null || retention === undefined) return null;
  return retention === "never" ? "for ever" : span(retention);
}
