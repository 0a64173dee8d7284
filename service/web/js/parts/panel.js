/** Panels, heads of views, and lists of facts. */

import { h } from "../core/dom.js";

/**
 * A titled panel.
 * @param {string} title
 * @param {unknown} body
 * @param {{note?: unknown, class?: string, level?: string}} [about]
 */
export function panel(title, body, { note = null, class: name = "", level = "h2" } = {}) {
  return h(
    "section",
    { class: `panel ${name}`, "aria-label": title },
    h("div", { class: "panel-head" }, h(level, null, title), note && h("div", { class: "panel-note" }, note)),
    h("div", { class: "panel-body" }, body),
  );
}

/** Head of a view: where it belongs, its title, and what can be done. */
export function head(title, { crumb = null, beside = null, tools = null } = {}) {
  return h(
    "div",
    { class: "head" },
    crumb && h("div", { class: "crumb" }, crumb),
    h("h1", { tabindex: -1 }, title),
    beside,
    tools && h("div", { class: "head-tools" }, tools),
  );
}

/** A list of names and values; pairs whose value is null are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "facts" }, shown.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** A figure in large type with its unit, provenance and what it is. */
export function figure(name, value, about = null) {
  return h("div", { class: "figure" }, h("div", { class: "figure-name" }, name), h("div", { class: "figure-value" }, value),
    about && h("div", { class: "figure-about" }, about));
}

/** The room of a table, which scrolls inside it; `name` says what it holds. */
export function tableRoom(name, ...children) {
  return h("div", { class: "table-room", role: "region", "aria-label": `${name}, scrolls sideways`, tabindex: 0 }, children);
}
