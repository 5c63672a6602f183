/** What happened to a job, in order: submitted, each attempt with its worker and progress, its end. */

import { fill, h } from "./dom.js";
import { between, clock, count, instant, percent, plain } from "./format.js";
import { ENDED } from "./act.js";
import { badge, breakable } from "./parts.js";

const STEPS_SHOWN = 6;

/** The words of an attempt's end, and the status whose colour it has. */
const OUTCOMES = {
  running: ["running", "running"],
  completed: ["completed", "completed"],
  failed: ["failed", "failed"],
  retry: ["failed, tried again", "failed"],
  timeout: ["timed out", "timeout"],
  lapse: ["its worker was not heard of", "failed"],
  release: ["given back", "suspended"],
  snooze: ["put off", "suspended"],
  checkpoint: ["suspended", "suspended"],
  cancelled: ["cancelled", "cancelled"],
  skipped: ["skipped", "skipped"],
};

export function timeline() {
  const element = h("ol", { class: "timeline" });
  return {
    element,
    /** `attempts` and `history`, of progress, are as the API tells them, oldest first. */
    show(job, attempts, history) {
      const points = [
        point(job.created_at, "Submitted", `by ${job.owner}`),
        job.scheduled_at && !job.attempt && point(job.scheduled_at, "Due", null, "waits"),
        attempts.map((one) => attempt(one, history)),
        ENDED.includes(job.status) && end(job, attempts),
        job.status === "suspended" && point(job.updated_at, "Suspended", "until it is resumed", "rests"),
      ];
      fill(element, points.flat().filter(Boolean));
    },
  };
}

function point(at, name, about, kind = "over") {
  return h(
    "li",
    { class: kind },
    h(
      "div",
      { class: "what" },
      h("strong", {}, name),
      about && [" ", h("span", { class: "soft" }, about)],
    ),
    at && h("time", { datetime: at, title: instant(at) }, clock(at)),
  );
}

function attempt(one, history) {
  const { attempt: number, worker, started_at: from, ended_at: to, outcome, error, code } = one;
  const begun = from ?? to;
  const [word, status] = OUTCOMES[outcome] ?? [outcome, "skipped"];
  const steps = history.filter((step) => step.attempt === number);
  const hidden = Math.max(0, steps.length - STEPS_SHOWN);
  return h(
    "li",
    { class: `attempt ${status}` },
    h(
      "div",
      { class: "what" },
      h("strong", {}, `Attempt ${count(number)}`),
      worker && [" ", h("span", {}, "on ", breakable(worker))],
      " ",
      badge(status, word),
      from && to && [" ", h("span", { class: "soft num" }, `after ${between(from, to)}`)],
      code && [" ", h("code", {}, code)],
    ),
    begun && h("time", { datetime: begun, title: instant(begun) }, clock(begun)),
    error && h("p", { class: "error" }, plain(error)),
    steps.length > 0 &&
      h(
        "ol",
        { class: "steps" },
        hidden > 0 && h("li", { class: "soft" }, `${count(hidden)} earlier ${hidden === 1 ? "report" : "reports"} of progress`),
        steps.slice(-STEPS_SHOWN).map((step) =>
          h(
            "li",
            {},
            h("progress", { max: 1, value: step.progress, "aria-hidden": "true" }),
            h("span", { class: "num" }, percent(step.progress)),
            h("span", { class: "soft" }, step.details ?? ""),
            h("time", { datetime: step.at, title: instant(step.at) }, clock(step.at)),
          ),
        ),
      ),
  );
}

/** The end of a job that no attempt tells: cancelled while it waited, skipped. */
function end(job, attempts) {
  const told = attempts.at(-1)?.ended_at === job.finished_at;
  return told ? null : point(job.finished_at, badge(job.status), null, "over");
}
