/** The table of subnets: the rows of `nuwa query`, sortable, linked with the chart. */

import { copyButton } from "../core/copy.js";
import { h, show } from "../core/dom.js";
import { countColumn, interval, isNumber, plainMs, share, shortId, whole } from "../core/figures.js";
import { latencyOf } from "../core/latency.js";
import { routeTo } from "../core/route.js";
import { originBadge } from "./badges.js";
import { tableRoom } from "./panel.js";

const COLUMNS = [
  { name: "subnet (tick two to compare)" },
  { name: "top1", sort: "top1", order: "descending", isNumber: true },
  { name: "split" },
  { name: "latency, ms", sort: "latency", order: "ascending", isNumber: true },
  { name: "from" },
  { name: "interval, ms", isNumber: true },
  { name: "parameters", sort: "params", order: "ascending", isNumber: true },
  { name: "MACs", sort: "macs", order: "ascending", isNumber: true },
  { name: "search" },
  { name: "bundle" },
];

/**
 * Build the table.
 * @param {{onSort: (sort: string) => void, onHover: (id: string | null) => void, onPick: (id: string, on: boolean) => void}}
 *   handlers `onPick`: a subnet is picked for a comparison, or no longer.
 */
export function subnetTable({ onSort, onHover, onPick }) {
  const heads = h("tr");
  const body = h("tbody");
  const node = tableRoom("Subnets",
    h("table", { class: "table table-lines" }, h("caption", { class: "sr-only" }, "Subnets with accuracy and latency"), h("thead", null, heads), body),
  );
  let rows = new Map();
  return {
    node,
    /** Show rows sorted by `sort`; `frontIds` are those on the front, `picked` those to compare. */
    update(found, { sort, frontIds, budgetMs, picked }) {
      const counts = { params: countColumn(found.map((row) => row.params)), macs: countColumn(found.map((row) => row.macs)) };
      show(heads, COLUMNS.map((column) => headCell(column, sort, onSort, counts[column.sort]?.unit)));
      rows = new Map(found.map((row) => [row.subnet_id, bodyRow(row, { frontIds, onHover, onPick, picked, counts })]));
      show(body, [...rows.values()]);
      this.setBudget(found, budgetMs);
    },
    /** Dim what is over the budget. */
    setBudget(found, budgetMs) {
      for (const row of found) rows.get(row.subnet_id)?.classList.toggle("is-over", isNumber(budgetMs) && latencyOf(row) > budgetMs);
    },
    /** Mark the row of a subnet that is pointed at elsewhere. */
    highlight(id) {
      body.querySelector(".is-linked")?.classList.remove("is-linked");
      rows.get(id)?.classList.add("is-linked");
    },
  };
}

function headCell(column, sort, onSort, unit) {
  const isSorted = column.sort && column.sort === sort;
  const title = unit ? `${column.name}, ${unit}` : column.name;
  const name = column.sort
    ? h("button", { type: "button", class: "sort", data: { sort: column.sort }, on: { click: () => onSort(column.sort) } },
      title, h("span", { class: "sort-mark", "aria-hidden": "true" }, isSorted ? (column.order === "descending" ? "↓" : "↑") : "↕"))
    : title;
  return h("th", { scope: "col", class: column.isNumber ? "number" : "", "aria-sort": isSorted ? column.order : null }, name);
}

function bodyRow(row, { frontIds, onHover, onPick, picked, counts }) {
  const isOnFront = frontIds.has(row.subnet_id);
  return h(
    "tr",
    {
      class: isOnFront ? "is-front" : "", data: { subnet: row.subnet_id },
      on: {
        mouseenter: () => onHover(row.subnet_id), mouseleave: () => onHover(null),
        focusin: () => onHover(row.subnet_id), focusout: () => onHover(null),
      },
    },
    h("th", { scope: "row", class: "nowrap" }, h("input", { type: "checkbox", class: "pick", checked: picked.includes(row.subnet_id), "aria-label": `compare ${shortId(row.subnet_id)}`, on: { change: (event) => onPick(row.subnet_id, event.target.checked) } }),
      h("a", { class: "mono", href: routeTo(["subnets", row.subnet_id]) }, shortId(row.subnet_id)),
      isOnFront && h("span", { class: "front-dot", title: "on the front" }, h("span", { class: "sr-only" }, " on the front"))),
    h("td", { class: "number" }, share(row.top1, row.top1_interval)),
    h("td", null, splitText(row)),
    h("td", { class: "number" }, plainMs(latencyOf(row))),
    h("td", null, isNumber(latencyOf(row)) ? originBadge(row) : "no latency"),
    h("td", { class: "number muted" }, row.predicted_interval_ms ? interval(row.predicted_interval_ms).replace(/\s*ms$/u, "") : "–"),
    h("td", { class: "number" }, counts.params.text(row.params)),
    h("td", { class: "number" }, counts.macs.text(row.macs)),
    h("td", null, row.study ? h("a", { href: routeTo(["searches", row.study]) }, row.study) : "–",
      isNumber(row.trial_number) && h("span", { class: "muted" }, ` #${row.trial_number}`)),
    h("td", null, row.bundle_dir ? (row.bundle_is_missing ? h("span", { class: "bad" }, "missing") : "yes") : "–",
      isOnFront && row.derive_command && [" ", copyButton("copy command", () => row.derive_command)]),
  );
}

function splitText(row) {
  if (!row.split) return "–";
  const images = row.num_images ? ` (${whole(row.num_images)})` : "";
  return [
    row.split, h("span", { class: "muted" }, images), row.score_kind === "top1_derived" && h("span", { class: "muted" }, " derived"),
    row.is_current === false && h("span", { class: "muted", title: "comparable with its like only" }, ` preprocessing ${row.pipeline}`),
  ];
}
