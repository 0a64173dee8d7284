/** The report card of a latency predictor, beside the simple predictors it is held against. */

import { h } from "../core/dom.js";
import { isNumber, percent, whole } from "../core/figures.js";
import { facts, tableRoom } from "./panel.js";

/** Build the body of the panel from the `report` of a predictor. */
export function reportCard(report) {
  if (!isNumber(report?.mape)) {
    const from = report?.transferred_from ? `transferred from ${report.transferred_from}` : report?.imported_from ? "imported from a kit" : "no held-out nets were measured";
    return h("p", { class: "muted" }, `No report card: ${from}.`);
  }
  const rows = [
    ["this predictor", report],
    ["sum of block rows", report.block_sum],
    ["baseline: operators", report.baselines?.operators],
    ["baseline: MACs", report.baselines?.macs],
  ].filter(([, errors]) => isNumber(errors?.mape));
  const worst = Math.max(...rows.map(([, errors]) => errors.mape));
  return h(
    "div",
    { class: "stack" },
    tableRoom("Report card",
      h("table", { class: "table table-lines" },
        h("thead", null, h("tr", null, ["predicted by", "mean error", "", "within 5 %", "within 10 %", "Spearman", "Kendall τ"].map((name, k) => h("th", { scope: "col", class: k && k !== 2 ? "number" : "" }, name)))),
        h("tbody", null, rows.map(([name, errors], k) => h("tr", { class: k ? "" : "is-front" },
          h("th", { scope: "row" }, name),
          h("td", { class: "number" }, percent(errors.mape, errors.mape < 0.1 ? 2 : 1)),
          h("td", { class: "bar-cell" }, bar(errors.mape / worst)),
          h("td", { class: "number" }, percent(errors.within_5pct, 0)),
          h("td", { class: "number" }, percent(errors.within_10pct, 0)),
          h("td", { class: "number" }, rank(errors.spearman)),
          h("td", { class: "number" }, rank(errors.kendall_tau))))))),
    facts([
      ["judged on", `${whole(report.num_heldout)} whole nets it was not fitted to`],
      ["interval", `covers ${percent(report.interval_coverage, 0)} of measurements (promised for the latency without noise: ${percent(report.nominal_coverage, 0)}), ${percent(report.interval_width, 1)} wide`],
      ["noise floor", isNumber(report.noise_floor_mape) ? `${percent(report.noise_floor_mape, 2)}: how far two measurements of the same net differ` : "every net was measured once"],
    ]),
  );
}

function bar(share) {
  const inner = h("span", { class: "bar-fill" });
  inner.style.setProperty("width", `${Math.max(1, 100 * share)}%`);
  return h("span", { class: "bar", "aria-hidden": "true" }, inner);
}

function rank(value) {
  return isNumber(value) ? value.toFixed(3) : "–";
}
