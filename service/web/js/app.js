/** Shows the view that the address names, and keeps to it when the address changes. */

import { askAhead, beginView } from "./core/api.js";
import { learnDatabase } from "./core/database.js";
import { h, show } from "./core/dom.js";
import { parseRoute } from "./core/route.js";
import { themeButton } from "./core/theme.js";
import { loadingNote, problemNote } from "./parts/notes.js";
import { tokenForm } from "./parts/token-form.js";

const VIEWS = {
  front: () => {
    askAhead("/devices");
    return import("./views/front.js");
  },
  subnets: () => import("./views/subnet.js"),
  compare: () => import("./views/compare.js"),
  bundles: () => import("./views/bundles.js"),
  collaborations: (path) => (path.length > 1 ? import("./views/collaboration.js") : import("./views/collaborations.js")),
  devices: (path) => (path.length > 1 ? import("./views/device.js") : import("./views/devices.js")),
  searches: (path) => {
    if (path.length < 2) return import("./views/searches.js");
    return path[1] === "new" ? import("./views/new-search.js") : import("./views/search.js");
  },
};
const NAV = {
  front: "front", subnets: "front", compare: "front", bundles: "bundles", collaborations: "collaborations", devices: "devices", searches: "searches",
};
const PATIENCE_MS = 200; // before "loading…" is shown: shorter waits need no word

const main = document.getElementById("main");
let current = { key: "", update: null, stop: new AbortController() };

async function go() {
  const { path, query } = parseRoute(location.hash);
  const key = path.join("/");
  if (key === current.key && current.update) return current.update(query);
  current.stop.abort();
  beginView();
  const isFirst = current.key === "";
  const stop = new AbortController();
  current = { key, update: null, stop };
  markNav(NAV[path[0]]);
  const timer = setTimeout(() => show(main, loadingNote()), PATIENCE_MS);
  try {
    const load = VIEWS[path[0]];
    if (!load) throw new Error(`there is no view called ${path[0]}`);
    const [{ view }] = await Promise.all([load(path), learnDatabase()]);
    const made = await view({ path, query, signal: stop.signal });
    if (stop.signal.aborted) return undefined;
    current.update = made.update ?? null;
    draw(made.node, made.title, isFirst);
  } catch (error) {
    if (stop.signal.aborted) return undefined;
    draw(error.status === 401 ? tokenForm(again) : problemNote(error), "nuwa-search", isFirst);
  } finally {
    clearTimeout(timer);
  }
  return undefined;
}

function draw(node, title, isFirst) {
  show(main, node);
  document.title = title === "nuwa-search" ? title : `${title} · nuwa-search`;
  if (!isFirst) {
    scrollTo(0, 0);
    (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  }
}

function again() {
  current.key = "";
  go();
}

function markNav(name) {
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part of the address after # holds the state of the view
  main.focus();
});
document.getElementById("tools").append(themeButton());
show(
  document.getElementById("foot"),
  h(
    "div",
    { class: "foot-line" },
    h("span", null, "Filled points were run on their device, measured or emulated; hollow ones are predicted."),
    h("a", { href: "/api/v1/openapi.json" }, "HTTP API"),
  ),
);
addEventListener("hashchange", go);
go();
