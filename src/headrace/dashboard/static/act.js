/** What can be done to a job, when, and how it is asked for. */

import { ask as request, part, post, Problem } from "./api.js";
import { complain, confirm, tell } from "./dialog.js";
import { button } from "./parts.js";

const WAITING = ["queued", "scheduled", "resuming"];
const HELD = ["locked", "running"];
export const ENDED = ["completed", "failed", "timeout", "cancelled", "skipped"];

/** In the order of their buttons. By act: its word, when it is offered, what is asked before. */
export const ACTS = {
  suspend: {
    word: "Suspend",
    done: "suspended",
    of: [...WAITING, ...HELD],
  },
  resume: { word: "Resume", done: "resumed", of: ["suspended"] },
  retry: {
    word: "Retry",
    done: "queued again",
    of: ["failed", "timeout", "cancelled", "skipped", "completed", "scheduled"],
    ask: "It runs again as the same job, with all its tries. Its result so far is gone.",
  },
  cancel: {
    word: "Cancel",
    done: "cancelled",
    of: ["initializing", ...WAITING, ...HELD, "suspending", "suspended"],
    danger: true,
    ask: "It ends without a result. One that runs ends when its worker has stopped.",
  },
  delete: {
    word: "Delete",
    done: "deleted",
    of: ENDED,
    danger: true,
    ask: "Its record, its result and its log are gone for good.",
  },
};

/** The acts that a job's status allows. */
export function actsOf(status) {
  return Object.keys(ACTS).filter((act) => ACTS[act].of.includes(status));
}

/** Does something to a job; nothing is asked. */
export function send(act, id, status) {
  const path = `/api/v1/jobs/${part(id)}`;
  if (act === "delete") return request("DELETE", path);
  const query = act === "retry" && status === "completed" ? { force: "1" } : {};
  return post(`${path}/${act}`, undefined, query);
}

/** Asks, does it, tells how it went. Returns whether it was done. */
export async function carryOut(act, job) {
  const { word, ask, danger, done } = ACTS[act];
  const asked = ask && !(act === "retry" && job.status === "scheduled");
  if (asked) {
    const sure = await confirm({ title: `${word} ${job.name}?`, text: ask, act: word, danger });
    if (!sure) return false;
  }
  try {
    await send(act, job.id, job.status);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    complain(error);
    return false;
  }
  tell(`${job.name}: ${done}`);
  return true;
}

/** Buttons for all that a job's status allows. */
export function actButtons(job, then) {
  return actsOf(job.status).map((act) =>
    button(
      ACTS[act].word,
      async () => {
        if (await carryOut(act, job)) then(act);
      },
      { kind: ACTS[act].danger ? "danger quiet" : null, focus: act },
    ),
  );
}
