/** All searches, newest first. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { classesText, isNumber, moment, plainMs } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { stateBadge, verdictBadge } from "../parts/badges.js";
import { emptyNote } from "../parts/notes.js";
import { head, tableRoom } from "../parts/panel.js";

const PAGE = 50;
const STATES = ["", "queued", "running", "done", "infeasible", "interrupted", "failed"];

/** Build the view. */
export async function view({ query, signal }) {
  const state = STATES.includes(query.get("state")) ? query.get("state") : "";
  const offset = Math.max(0, Number.parseInt(query.get("offset") ?? "0", 10) || 0);
  const { rows, next_offset: next } = await get("/searches", { state, limit: PAGE, offset: offset || null }, { signal });
  const node = h(
    "div",
    { class: "stack" },
    head("Searches", { tools: h("a", { class: "button button-main", href: routeTo(["searches", "new"]) }, "start a search") }),
    h("nav", { class: "chips", "aria-label": "State" }, STATES.map((name) =>
      h("a", { class: "chip", href: routeTo(["searches"], { state: name }), "aria-current": name === state ? "true" : null }, name || "all"))),
    rows.length ? table(rows) : emptyNote(state ? `No search is ${state}.` : "No search yet. Start one from here, or with:", state ? "" : "nuwa-search --budget-ms 30"),
    (offset > 0 || next) && h("div", { class: "pager" },
      offset > 0 && h("a", { class: "button button-small", href: routeTo(["searches"], { state, offset: Math.max(0, offset - PAGE) }) }, "← newer"),
      next && h("a", { class: "button button-small", href: routeTo(["searches"], { state, offset: next }) }, "older →")),
  );
  return { title: "Searches", node };
}

function table(rows) {
  const names = ["search", "state", "budget, ms", "device", "task", "base", "begun", "took, min", "result"];
  return h("section", { class: "panel", "aria-label": "Searches" },
    tableRoom("Searches",
      h("table", { class: "table table-lines" },
        h("thead", null, h("tr", null, names.map((name) => h("th", { scope: "col", class: name.includes(", ") ? "number" : "" }, name)))),
        h("tbody", null, rows.map(searchRow)))));
}

function searchRow(row) {
  const seconds = row.finished_at ? (new Date(row.finished_at) - new Date(row.created_at)) / 1000 : null;
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, h("a", { href: routeTo(["searches", row.study]) }, row.study)),
    h("td", null, stateBadge(row.state, row.is_alive)),
    h("td", { class: "number nowrap" }, row.budgets.map((one) => h("div", null, plainMs(one.budget_ms)))),
    h("td", { class: "nowrap" }, row.budgets.map((one) => h("div", null, h("a", { href: routeTo(["devices", one.device]) }, one.device)))),
    h("td", null, classesText(row.classes, 3)),
    h("td", null, row.base),
    h("td", { class: "nowrap" }, moment(row.created_at)),
    h("td", { class: "number nowrap" }, isNumber(seconds) ? (seconds / 60).toFixed(1) : "–"),
    h("td", null, row.verdict ? verdictBadge(row.verdict) : "–", row.subnet_id && [" ", h("a", { href: routeTo(["subnets", row.subnet_id]) }, "subnet")]),
  );
}
