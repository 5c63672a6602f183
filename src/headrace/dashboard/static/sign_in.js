/** Signing in with an API key. The key goes to the server once and is kept nowhere. */

import { ask, Problem, session } from "./api.js";
import { field, problemText } from "./dialog.js";
import { fill, h } from "./dom.js";

/** Shows the form; resolves when somebody is signed in. */
export function signIn(place, reason) {
  document.title = "Sign in · headrace";
  const key = field("key", "API key", {
    type: "password",
    placeholder: "hr_…",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    hint: "It is sent once and not stored; a cookie stands for it, for 12 hours at most.",
  });
  const trouble = h("div", { class: "trouble", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  return new Promise((done) => {
    async function submit(event) {
      event.preventDefault();
      button.disabled = true;
      fill(trouble);
      try {
        session.who = await ask("POST", "/api/v1/session", { body: { key: key.read() } });
        key.input.value = "";
        done();
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        fill(trouble, problemText(error, { advised: false }));
        button.disabled = false;
        key.input.focus();
        key.input.select();
      }
    }
    fill(
      place,
      h(
        "main",
        { class: "sign-in", id: "main" },
        h("div", { class: "brand large" }, "headrace"),
        h("h1", {}, "Sign in"),
        reason && h("p", { class: "reason", role: "status" }, reason),
        h("form", { onsubmit: submit }, key.element, trouble, button),
        h(
          "p",
          { class: "hint" },
          "No key yet? On the server: ",
          h("code", {}, "headrace keys create --scopes admin --tenant '*'"),
        ),
      ),
    );
    key.input.focus();
  });
}
