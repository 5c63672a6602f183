/** Acts on many jobs: counted and confirmed before, shown while they go on, stopped if need be. */

import { get, part, post, Problem } from "./api.js";
import { ACTS, actsOf, send } from "./act.js";
import { complain, confirm, open, problemText, tell } from "./dialog.js";
import { fill, h, keyed, setText } from "./dom.js";
import { ago, count } from "./format.js";
import { keep } from "./live.js";
import { badge, button } from "./parts.js";

const LOOK_MS = 300;
const SHOWN = 4;
const SHOWN_S = 60;
/** From one look to the next while none is under way: others may begin one, too. */
const QUIET_SAMPLES = 5;

const jobs = (number) => `${count(number)} ${number === 1 ? "job" : "jobs"}`;

// Some -------------------------------------------------------------------------------------------

/** Does something to the jobs that were selected, one after the other. */
export async function actOnSome(act, selected) {
  const { word, danger, ask } = ACTS[act];
  const able = selected.filter(({ status }) => actsOf(status).includes(act));
  const left = selected.length - able.length;
  const text = [
    ask,
    left > 0 && `${jobs(left)} of those selected are left out: their status does not allow it.`,
  ].filter(Boolean);
  if (able.length === 0) {
    tell(`None of the ${jobs(selected.length)} can be acted on so`);
    return;
  }
  const title = `${word} ${jobs(able.length)}?`;
  if (!(await confirm({ title, text, act: word, danger }))) return;
  await open(`${word} ${jobs(able.length)}`, (close) => {
    const bar = h("progress", { max: able.length, value: 0, "aria-label": "Done" });
    const said = h("p", { role: "status" });
    const refused = h("ul", { class: "refused" });
    const stop = button("Stop", () => close(null));
    let stopped = false;
    stop.addEventListener("click", () => {
      stopped = true;
    });
    async function run() {
      let done = 0;
      for (const [at, job] of able.entries()) {
        if (stopped) return;
        try {
          await send(act, job.id, job.status);
          done += 1;
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          refused.append(h("li", {}, job.name, ": ", problemText(error)));
        }
        bar.value = at + 1;
        setText(said, `${count(done)} of ${count(able.length)} done`);
      }
      setText(stop, "Close");
      if (done === able.length) {
        tell(`${word}: ${jobs(done)} done`);
        close(true);
      }
    }
    run();
    return [bar, said, refused, h("div", { class: "buttons" }, stop)];
  });
}

// All --------------------------------------------------------------------------------------------

/** Counts the jobs that match, asks, and has the server act on them; a dialog tells how far it is. */
export function actOnAll(act, filter) {
  const { word, danger, ask } = ACTS[act];
  const said = Object.entries(filter);
  return open(`${word} all that match`, (close) => {
    const gone = new AbortController();
    const status = h("p", { role: "status" }, "Counting…");
    const bar = h("progress", { max: 1, "aria-label": "Progress" });
    const reasons = h("p", { class: "soft" });
    const go = button(word, start, { kind: danger ? "danger" : "primary" });
    const leave = button("Leave it", () => close(null));
    let expected = 0;
    let id = "";

    async function watch(found, tellOf) {
      while (!gone.signal.aborted) {
        tellOf(found);
        if (found.state !== "running") return found;
        await new Promise((on) => setTimeout(on, LOOK_MS));
        found = await get(`/api/v1/bulk/${part(found.id)}`, {}, gone.signal);
      }
      return found;
    }
    async function guarded(work) {
      try {
        await work();
      } catch (error) {
        if (error.name === "AbortError") return;
        if (!(error instanceof Problem)) throw error;
        fill(status, problemText(error));
        bar.hidden = true;
      }
    }
    guarded(async () => {
      const begun = await post("/api/v1/jobs/bulk", { act, filter, dry_run: true });
      id = begun.id;
      await watch(begun, ({ state, matched, examined }) => {
        if (id !== begun.id) return;
        expected = matched;
        const far = state === "running" ? `, ${count(examined)} looked at so far…` : "";
        setText(status, `${jobs(matched)} match${far}`);
        bar.hidden = state !== "running";
        if (state !== "running") go.disabled = matched === 0;
        setText(go, matched ? `${word} ${jobs(matched)}` : word);
      });
    });

    function start() {
      guarded(async () => {
        if (id) stopQuietly(id);
        const begun = await post("/api/v1/jobs/bulk", { act, filter });
        id = begun.id;
        fill(
          buttons,
          button("Go on beside the rest", () => close(true)),
          button("Stop", () => stop(begun.id), { kind: "danger quiet" }),
        );
        const found = await watch(begun, (now) => {
          const worked = now.done + now.skipped;
          bar.hidden = false;
          bar.max = Math.max(expected, worked, 1);
          bar.value = now.state === "completed" ? bar.max : worked;
          setText(status, `${count(now.done)} of ${jobs(Math.max(expected, worked))} done`);
          setText(reasons, reasonsOf(now));
        });
        if (gone.signal.aborted) return;
        const ended = found.state === "completed" ? "done" : "done; it was stopped";
        setText(status, `${jobs(found.done)} ${ended}`);
        fill(buttons, button("Close", () => close(true), { kind: "primary" }));
        buttons.firstChild.focus();
      });
    }
    const buttons = h("div", { class: "buttons" }, leave, go);
    const body = h(
      "div",
      { class: "stack" },
      h(
        "p",
        {},
        said.length === 0
          ? "There is no filter: all jobs are meant that were submitted so far."
          : ["Of jobs submitted so far with ", said.map(([name, value]) => [h("code", {}, `${name} = ${value}`), " "])],
      ),
      ask && h("p", {}, ask),
      status,
      bar,
      reasons,
      buttons,
    );
    queueMicrotask(() => {
      body.closest("dialog")?.addEventListener("close", () => gone.abort());
    });
    return body;
  });
}

function reasonsOf({ reasons }) {
  const found = Object.entries(reasons);
  if (found.length === 0) return "";
  return `Left as they are: ${found.map(([code, number]) => `${count(number)} ${code}`).join(", ")}`;
}

async function stop(id) {
  try {
    await post(`/api/v1/bulk/${part(id)}/cancel`);
  } catch (problem) {
    complain(problem);
  }
}

async function stopQuietly(id) {
  try {
    await post(`/api/v1/bulk/${part(id)}/cancel`);
  } catch {
    // The count is of no use any more, ended or not.
  }
}

// Those under way --------------------------------------------------------------------------------

/** The acts that are under way, and those that have just ended. */
export function running(signal) {
  let quiet = true;
  const rows = h("ul", { class: "bulks" });
  const element = h("section", { class: "panel", hidden: true, "aria-label": "Acts on many jobs" }, rows);
  const look = keep(
    () => get("/api/v1/bulk", { limit: 1000 }, signal),
    ({ bulks }) => {
      const shown = bulks.filter(isNews).slice(-SHOWN);
      quiet = shown.length === 0;
      element.hidden = shown.length === 0;
      keyed(rows, shown, ({ id }) => id, (bulk) => line(bulk, look));
    },
    signal,
    { failed: () => {}, every: () => (quiet ? QUIET_SAMPLES : 1) },
  );
  return { element, look };
}

function isNews({ dry_run: counts, state, finished_at: at }) {
  if (counts) return false;
  return state === "running" || (at && Date.now() - new Date(at) < SHOWN_S * 1000);
}

function line(bulk, then) {
  const { act, filter, state, done, matched, examined, finished_at: at } = bulk;
  const of = Object.entries(filter)
    .map(([name, value]) => `${name} ${[value].flat().join(", ")}`)
    .join(", ");
  return h(
    "li",
    {},
    badge(state === "running" ? "running" : state, `${ACTS[act].word} all`),
    h("span", {}, of || "no filter"),
    h("span", { class: "num" }, `${count(done)} of ${count(matched)} done`),
    state === "running"
      ? [
          h("span", { class: "soft num" }, `${count(examined)} looked at`),
          button("Stop", () => stop(bulk.id).then(then), { kind: "danger quiet", focus: "stop" }),
        ]
      : h("span", { class: "soft" }, ago(at)),
  );
}
