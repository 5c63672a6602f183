/** A job's log: the end of it, and what comes while it runs. */

import { follow, part } from "./api.js";
import { fill, h, setText } from "./dom.js";
import { plain } from "./format.js";
import { link, panel } from "./parts.js";

const LINES = 500;
const CHARS_MAX = 400_000;
const NEAR_PX = 40;

export function logPanel(id, signal) {
  const text = h("pre", { class: "code log", tabindex: "0", "aria-label": "Log", role: "log" });
  const state = h("span", { class: "soft" }, "");
  const none = h("p", { class: "soft" }, "Nothing was logged.");
  const element = panel(
    h(
      "span",
      { class: "row" },
      "Log",
      state,
      link("All of it", `api/v1/jobs/${part(id)}/logs`, { class: "end", target: "_blank", rel: "noopener" }),
    ),
    none,
    text,
  );
  let run = null;

  function write(more) {
    const follows = text.scrollHeight - text.scrollTop - text.clientHeight < NEAR_PX;
    text.append(plain(more));
    while (text.textContent.length > CHARS_MAX) text.firstChild.remove();
    none.hidden = true;
    text.hidden = false;
    if (follows) text.scrollTop = text.scrollHeight;
  }

  /** Begins anew, from the last lines that there are. */
  function begin() {
    run?.abort();
    run = new AbortController();
    fill(text);
    text.hidden = true;
    none.hidden = false;
    setText(state, "live");
    follow(`/api/v1/jobs/${part(id)}/logs`, {
      query: { follow: "1", tail: LINES },
      signal: AbortSignal.any([signal, run.signal]),
      told: ({ name, data }) => {
        if (name === "log" && data.log) write(data.log);
      },
    })
      .then(() => setText(state, ""))
      .catch(() => setText(state, "cannot be followed"));
  }
  return { element, begin };
}
