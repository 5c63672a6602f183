/** The frame around the pages: who is signed in, where one is, whether the server is heard. */

import { ask, ends, get, session } from "./api.js";
import { place, problemBox } from "./dialog.js";
import { add, fill, h, icon, setText } from "./dom.js";
import { begin, onSample, pulse } from "./live.js";
import { head } from "./parts.js";
import { short } from "./format.js";

/**
 * In the order of the menu. `load` and `one`: the modules of a list and of one thing in it, which
 * come when they are wanted; `scope`: what it takes to see a page.
 */
const PAGES = [
  { path: "", title: "Overview", load: () => import("./overview.js"), draw: "M2 13V8M6 13V3M10 13V6M14 13v-3" },
  { path: "jobs", title: "Jobs", load: () => import("./jobs.js"), one: () => import("./job.js"), draw: "M2 4h12M2 8h12M2 12h8" },
  { path: "dead", title: "Dead-letter", load: () => import("./dead.js"), draw: "M8 2l6 11H2zM8 6.5v3M8 11.4v.1" },
  { path: "queues", title: "Queues", load: () => import("./queues.js"), draw: "M2 3h12v4H2zM2 9h12v4H2z" },
  { path: "types", title: "Types", load: () => import("./types.js"), draw: "M2 2h5v5H2zM9 9h5v5H9zM9 2h5v5H9zM2 9h5v5H2z" },
  { path: "workers", title: "Workers", load: () => import("./workers.js"), scope: "admin", draw: "M4 4h8v8H4zM6 1v3M10 1v3M6 12v3M10 12v3M1 6h3M1 10h3M12 6h3M12 10h3" },
  { path: "webhooks", title: "Webhooks", load: () => import("./webhooks.js"), draw: "M2 8h8M7 5l3 3-3 3M13 3v10" },
  { path: "keys", title: "Keys", load: () => import("./keys.js"), scope: "admin", draw: "M5 8a2.5 2.5 0 1 0 0 .1M7.5 8H14M12 8v3M9.5 8v2" },
];
const THEMES = { light: "Light", dark: "Dark", system: "System" };
const THEME = "headrace-theme";

const frame = h("div", { class: "frame" });
const main = h("main", { id: "main", tabindex: "-1" });
let leaving = new AbortController();
let signedOut = new AbortController();
let shown = "";

// Where one is -----------------------------------------------------------------------------------

/** Reads the place: #/jobs/ID?status=failed */
function placeNow() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name, rest: rest.filter(Boolean), query: new URLSearchParams(query) };
}

/** The module that shows a thing of a page, or the page itself; null if there is no such thing. */
async function moduleOf(found, isOne) {
  const module = await (isOne && found.one ? found.one() : found.load());
  return isOne && !found.one ? (module.one ?? null) : module;
}

async function go() {
  if (location.hash === "#main") {
    history.replaceState(null, "", shown || "#/");
    main.focus();
    return;
  }
  const { name, rest, query } = placeNow();
  const found = PAGES.find((one) => one.path === name);
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  let page = null;
  try {
    page = found && (await moduleOf(found, rest.length > 0));
  } catch {
    page = unloadable;
  }
  if (signal.aborted) return;
  if (!page) {
    missing();
    return;
  }
  const isNew = location.hash.split("?")[0] !== shown.split("?")[0];
  shown = location.hash || "#/";
  for (const item of frame.querySelectorAll("nav.menu a")) {
    const here = item.getAttribute("href") === `#/${name}`;
    if (here) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  document.title = `${page.title} · headrace`;
  frame.classList.remove("open");
  fill(main);
  page.show(main, { query, name: rest[0], signal });
  if (isNew) {
    main.querySelector("h1")?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

/** In the place of a page whose module does not come: the server was replaced, or is not there. */
const unloadable = {
  title: "Load it again",
  show(place) {
    const told = "The server was replaced by another version, or it cannot be reached.";
    const again = () => location.reload();
    add(place, head(this.title, told, h("button", { type: "button", onclick: again }, "Load again")));
  },
};

function missing() {
  document.title = "No such page · headrace";
  for (const item of frame.querySelectorAll("nav.menu a")) item.removeAttribute("aria-current");
  frame.classList.remove("open");
  shown = location.hash;
  fill(main, head("No such page", "The address may be of an older version, or mistyped."));
  add(main, h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  main.querySelector("h1").focus({ preventScroll: true });
}

// The frame --------------------------------------------------------------------------------------

function menu() {
  return h(
    "nav",
    { class: "menu", "aria-label": "Pages" },
    PAGES.filter(({ scope }) => !scope || session.may(scope)).map(({ path, title, draw }) =>
      h("a", { href: `#/${path}` }, icon(draw), h("span", {}, title)),
    ),
  );
}

function pulseLine() {
  const line = h("p", { class: "pulse", role: "status" }, "Connecting…");
  pulse.addEventListener(
    "linked",
    ({ detail }) => {
      line.classList.toggle("lost", !detail);
      setText(line, detail ? "Live" : "No connection; trying again…");
    },
    { signal: signedOut.signal },
  );
  return line;
}

function themeChoice() {
  const now = document.documentElement.dataset.theme ?? "system";
  const select = h(
    "select",
    {
      "aria-label": "Colours",
      onchange: () => {
        if (select.value === "system") delete document.documentElement.dataset.theme;
        else document.documentElement.dataset.theme = select.value;
        localStorage.setItem(THEME, select.value);
        document.dispatchEvent(new Event("themed"));
      },
    },
    Object.entries(THEMES).map(([word, text]) =>
      h("option", { value: word, selected: word === now }, text),
    ),
  );
  return select;
}

function whoLine() {
  const { who } = session;
  if (who.open) return h("p", { class: "who" }, "Open: no keys yet");
  return h("p", { class: "who" }, `${who.user} · ${who.all_tenants ? "all tenants" : who.tenant_id}`);
}

function tenantChoice() {
  if (!session.mayChoose) return null;
  const input = h("input", {
    "aria-label": "Tenant whose jobs are shown",
    placeholder: session.who.tenant_id,
    value: session.tenant,
    size: 12,
    onchange: () => {
      session.tenant = input.value.trim();
      go();
    },
  });
  return h("label", { class: "tenant" }, h("span", {}, "Tenant"), input);
}

async function signOut() {
  await ask("DELETE", "/api/v1/session");
  enter("You are signed out.");
}

function build() {
  const toggle = h(
    "button",
    {
      type: "button",
      class: "toggle bare",
      "aria-label": "Menu",
      onclick: () => frame.classList.toggle("open"),
    },
    icon("M2 4h12M2 8h12M2 12h12"),
  );
  const glance = h("span", { class: "glance" });
  onSample(({ running, queued }) => {
    setText(glance, `${short(running)} running, ${short(queued)} waiting`);
  }, signedOut.signal);
  pulse.addEventListener(
    "linked",
    ({ detail }) => {
      glance.classList.toggle("bad", !detail);
      if (!detail) setText(glance, "No connection");
    },
    { signal: signedOut.signal },
  );
  fill(
    frame,
    h("a", { class: "skip", href: "#main" }, "Skip to the page"),
    h(
      "header",
      { class: "side" },
      h(
        "div",
        { class: "top" },
        h("a", { class: "brand", href: "#/" }, "headrace"),
        glance,
        toggle,
      ),
      h(
        "div",
        { class: "rest" },
        menu(),
        h(
          "div",
          { class: "foot" },
          pulseLine(),
          tenantChoice(),
          whoLine(),
          h(
            "div",
            { class: "foot-acts" },
            themeChoice(),
            h("a", { href: "docs" }, "Docs"),
            !session.who.open &&
              h("button", { type: "button", class: "bare", onclick: signOut }, "Sign out"),
          ),
        ),
      ),
    ),
    main,
  );
  fill(document.body, frame);
  place();
}

// Coming in --------------------------------------------------------------------------------------

/** What was asked before this module was there; null if that is used up or went wrong. */
async function takeEarly() {
  const asked = window.early;
  window.early = null;
  const response = await asked;
  return response?.ok ? response.json() : null;
}

async function enter(reason = "") {
  leaving.abort();
  signedOut.abort();
  signedOut = new AbortController();
  session.tenant = "";
  try {
    session.who = (await takeEarly()) ?? (await get("/api/v1/session"));
  } catch (problem) {
    const box = problemBox(problem, () => enter(reason));
    fill(document.body, h("main", { class: "sign-in" }, h("h1", { class: "brand" }, "headrace"), box));
    return;
  }
  if (!session.who.signed_in) {
    const { signIn } = await import("./sign_in.js");
    await signIn(document.body, reason);
  }
  shown = "";
  build();
  begin(signedOut.signal);
  go();
}

ends.addEventListener("ended", () => {
  if (!signedOut.signal.aborted) enter("The session is over. Show the key again.");
});
window.addEventListener("hashchange", () => {
  if (session.who?.signed_in) go();
});
enter();
