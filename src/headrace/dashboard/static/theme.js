// Light or dark, before anything is painted: what was chosen here, else what the system says.
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
})();
