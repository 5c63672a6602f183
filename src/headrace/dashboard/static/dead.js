/** Dead-letter: what failed, timed out or is poison, why, and its redrive. */

import { actButtons } from "./act.js";
import { h } from "./dom.js";
import { ago, count } from "./format.js";
import { clipped, list, nameCell, statusCell } from "./jobs.js";
import { empty, head } from "./parts.js";

export const title = "Dead-letter";

const STATUSES = [
  ["Failed", ["failed"]],
  ["Timed out", ["timeout"]],
];

export function show(main, place) {
  main.append(
    head(
      title,
      "Jobs that failed for good, ran out of time, or crashed their workers too often. A retry runs"
        + " one again as the same job, with all its tries.",
    ),
  );
  list(main, place, {
    caption: title,
    columns,
    statuses: STATUSES,
    fallback: "dead",
    nothing: () => empty("Nothing is dead", "Every job that ended so far ended well."),
  });
}

function columns(then) {
  return [
    { title: "Job", kind: "name", cell: nameCell },
    { title: "Status", cell: statusCell },
    { title: "Error", kind: "error", cell: ({ error }) => h("span", {}, error ?? "–") },
    { title: "Type", kind: "wide", cell: ({ type }) => clipped(type ?? "WASM") },
    { title: "Tries", kind: "num wide", cell: ({ attempt }) => count(attempt) },
    { title: "Ended", kind: "wide", cell: ({ finished_at: at }) => ago(at) },
    { title: "", kind: "acts", cell: (job) => actButtons(job, then) },
  ];
}
