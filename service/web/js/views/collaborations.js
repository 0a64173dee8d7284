/** Every decomposition of a base over several boards, newest first. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { classesText, moment, percent, plainMs, share, wilson } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge } from "../parts/badges.js";
import { accuracyOf, boardsText, shippedBadge } from "../parts/collaboration-words.js";
import { emptyNote } from "../parts/notes.js";
import { head, tableRoom } from "../parts/panel.js";

const PAGE = 50;
const COMMAND = "nuwa decompose --devices jetson-nano,jetson-nano --budget-ms 30";
const COLUMNS = ["decomposition", "boards", "budget, ms", "latency, ms", "from", "accuracy", "one board alone, accuracy", "shipped", "task", "base", "begun"];
const NUMBERS = COLUMNS.filter((name) => /, ms|accuracy/.test(name));

/** Build the view. */
export async function view({ query, signal }) {
  const offset = Math.max(0, Number.parseInt(query.get("offset") ?? "0", 10) || 0);
  const device = query.get("device") ?? "";
  const { rows, next_offset: next } = await get("/collaborations", { device, limit: PAGE, offset: offset || null }, { signal });
  const link = (to) => routeTo(["collaborations"], { device, offset: to });
  const node = h(
    "div",
    { class: "stack" },
    head("Boards together", { beside: h("p", { class: "muted" }, "one base over several boards, beside the best subnet on one of them") }),
    device && h("p", null, `with ${device} among the boards; `, h("a", { href: routeTo(["collaborations"]) }, "show all")),
    rows.length ? table(rows) : emptyNote(device ? `No decomposition has ${device} among its boards.` : "No decomposition yet. One is made by:", COMMAND),
    (offset > 0 || next) && h("div", { class: "pager" },
      offset > 0 && h("a", { class: "button button-small", href: link(Math.max(0, offset - PAGE)) }, "← newer"),
      next && h("a", { class: "button button-small", href: link(next) }, "older →")),
  );
  return { title: "Boards together", node };
}

function table(rows) {
  return h("section", { class: "panel", "aria-label": "Boards together" },
    tableRoom("Boards together",
      h("table", { class: "table table-lines" },
        h("thead", null, h("tr", null, COLUMNS.map((name) => h("th", { scope: "col", class: NUMBERS.includes(name) ? "number" : "" }, name)))),
        h("tbody", null, rows.map(tableRow)))));
}

/** Top1 with the interval of so many images; mIoU, whose interval is not that of a share, with its name. */
function accuracyText(row, of = "") {
  const { name, value } = accuracyOf(row, of);
  return name === "mIoU" ? `${percent(value)} mIoU` : share(value, wilson(value, row.num_images));
}

function tableRow(row) {
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, h("a", { href: routeTo(["collaborations", row.study]) }, row.study)),
    h("td", null, boardsText(row.devices)),
    h("td", { class: "number" }, plainMs(row.budget_ms)),
    h("td", { class: "number nowrap" }, `${plainMs(row.predicted_p50_ms)} (${row.mode})`),
    h("td", null, provenanceBadge(`predicted (${row.provenance})`)),
    h("td", { class: "number" }, accuracyText(row)),
    h("td", { class: "number" }, `${accuracyText(row, "rival_")} in ${plainMs(row.rival_latency_ms)}`),
    h("td", null, shippedBadge(row.shipped)),
    h("td", null, classesText(row.classes, 3)),
    h("td", null, row.base),
    h("td", { class: "nowrap" }, moment(row.created_at)),
  );
}
