/** The bundles that the database knows, and those that are being made. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { classesText, percent, plainMs, share, shortId } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge, stateBadge } from "../parts/badges.js";
import { bundleLabels } from "../parts/bundle-labels.js";
import { emptyNote } from "../parts/notes.js";
import { head, panel, tableRoom } from "../parts/panel.js";

const PAGE = 50;
const COLUMNS = ["subnet", "what it is", "download", "size, MB", "latency, ms", "from", "top1 or mIoU", "task", "search"];
const NUMBERS = ["top1 or mIoU", "latency, ms", "size, MB"];

/** Build the view. */
export async function view({ query, signal }) {
  const offset = Math.max(0, Number.parseInt(query.get("offset") ?? "0", 10) || 0);
  const [{ rows, next_offset: next }, jobs] = await Promise.all([
    get("/bundles", { limit: PAGE, offset: offset || null }, { signal }),
    get("/bundle-jobs", { limit: PAGE }, { signal }),
  ]);
  const active = jobs.rows.filter((job) => ["queued", "running"].includes(job.state));
  const node = h(
    "div",
    { class: "stack" },
    head("Bundles", { beside: h("p", { class: "muted" }, "folders with a subnet, its exports and its proof") }),
    active.length > 0 && panel("Being made", h("ul", { class: "plain" }, active.map((job) =>
      h("li", null, h("a", { class: "mono", href: routeTo(["subnets", job.subnet_id]) }, shortId(job.subnet_id)), ` for ${job.device} `, stateBadge(job.state))))),
    rows.length
      ? h("section", { class: "panel", "aria-label": "Bundles" }, tableRoom("Bundles", h("table", { class: "table table-lines" },
        h("thead", null, h("tr", null, COLUMNS.map((name) => h("th", { scope: "col", class: NUMBERS.includes(name) ? "number" : "" }, name)))),
        h("tbody", null, rows.map(bundleRow)))))
      : emptyNote("No bundle yet. A search writes one, and the page of any subnet has a button that makes one:", "nuwa-search --budget-ms 30"),
    (offset > 0 || next) && h("div", { class: "pager" },
      offset > 0 && h("a", { class: "button button-small", href: routeTo(["bundles"], { offset: Math.max(0, offset - PAGE) }) }, "← newer"),
      next && h("a", { class: "button button-small", href: routeTo(["bundles"], { offset: next }) }, "older →")),
  );
  return { title: "Bundles", node };
}

function bundleRow(row) {
  return h(
    "tr",
    { data: { subnet: row.subnet_id } },
    h("th", { scope: "row" }, h("a", { class: "mono", href: routeTo(["subnets", row.subnet_id]) }, shortId(row.subnet_id)),
      h("div", { class: "small muted note-cell" }, row.bundle_dir)),
    h("td", null, stateOf(row)),
    h("td", null, row.is_served ? h("a", { class: "button button-small", href: row.zip, download: true }, "zip") : "–"),
    h("td", { class: "number" }, row.size_mb === null ? "–" : row.size_mb.toFixed(1)),
    h("td", { class: "number" }, plainMs(row.measured_latency_ms)),
    h("td", null, row.provenance ? provenanceBadge(row.provenance) : "–"),
    h("td", { class: "number" }, row.miou === null ? share(row.top1, row.top1_interval) : percent(row.miou)),
    h("td", null, classesText(row.classes, 3)),
    h("td", null, row.study ? h("a", { href: routeTo(["searches", row.study]) }, row.study) : "–"),
  );
}

function stateOf(row) {
  if (row.bundle_is_missing) return h("span", { class: "bad" }, "gone, or another subnet's by now");
  return row.is_served ? bundleLabels(row) : h("span", { class: "muted" }, "outside the data roots of this service");
}
