/** The server's pulse: a sample every two seconds, for whoever wants to know. */

import { follow, Problem } from "./api.js";

const listeners = new Set();
let newest = null;
let stands = null;

export const pulse = new EventTarget();

/** Begins to follow; once, when somebody has signed in. */
export function begin(signal) {
  newest = null;
  follow("/api/v1/stats/events", {
    signal,
    told: ({ data }) => {
      newest = data;
      for (const listener of [...listeners]) listener(data);
    },
    linked: (now) => {
      if (stands === now) return;
      stands = now;
      pulse.dispatchEvent(new CustomEvent("linked", { detail: now }));
    },
  }).catch(() => {});
}

/** Calls `listener` with each sample, until the page is left; with the newest one at once. */
export function onSample(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
  if (newest) listener(newest);
}

/**
 * Loads and shows what a page is about, at once and then with every sample, or with each after
 * `every` of them; not while the window is hidden, but as soon as it is seen again, and never twice
 * at a time. Returns a function that does it now.
 */
export function keep(load, show, signal, { failed, paused = () => false, every = () => 1 } = {}) {
  let running = false;
  let again = false;
  let samples = 0;
  async function look() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    samples = 0;
    try {
      const found = await load(signal);
      if (!signal.aborted) show(found);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      failed?.(error);
    } finally {
      running = false;
      if (again && !signal.aborted) {
        again = false;
        look();
      }
    }
  }
  let first = true;
  onSample(() => {
    if (!first) samples += 1;
    if (samples >= every() && !document.hidden && !paused()) look();
    first = false;
  }, signal);
  const seen = () => {
    if (!document.hidden && samples > 0 && !paused()) look();
  };
  document.addEventListener("visibilitychange", seen, { signal });
  first = false;
  look();
  return look;
}
