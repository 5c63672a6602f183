// What cannot wait: light or dark before anything is painted, and questions to the server before the
// modules are there.
"use strict";
(() => {
  const NAME = "headrace-theme";
  let chosen = null;
  try {
    chosen = localStorage.getItem(NAME);
  } catch {
    // A browser that stores nothing still shows everything.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }

  // Who is signed in: `app.js` takes the answer.
  window.early = fetch("api/v1/session", {
    headers: { Accept: "application/json" },
    credentials: "same-origin",
    cache: "no-store",
  }).catch(() => null);

  // The modules of the page that is asked for, all at once; without it they come one after another.
  const MODULES = {
    "": "overview plot uplot",
    jobs: "jobs act bulk",
    "jobs/": "job act log timeline",
    dead: "dead jobs act bulk",
    queues: "queues",
    types: "types queues",
    workers: "workers",
    webhooks: "webhooks",
    keys: "keys webhooks",
  };
  const [, name = "", rest = ""] = /^#?\/?([^/?]*)(\/[^?]+)?/.exec(location.hash) ?? [];
  const wanted = MODULES[name + (rest && "/")] ?? MODULES[name] ?? "";
  for (const module of wanted.split(" ").filter(Boolean)) {
    const link = document.createElement("link");
    link.rel = "modulepreload";
    link.href = new URL(`${module}.js`, document.currentScript.src);
    document.head.append(link);
  }
})();
