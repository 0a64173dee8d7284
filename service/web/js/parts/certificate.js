/** A certificate: its verdict, the latency with both intervals, and how far the exported model agrees. */

import { budgetScale } from "../chart/budget-scale.js";
import { h } from "../core/dom.js";
import { interval, isNumber, milliseconds, moment, percent, whole } from "../core/figures.js";
import { verdictBadge } from "./badges.js";
import { facts, tableRoom } from "./panel.js";

/**
 * Build the body of the panel.
 * @param {object} row A row of `certificates`; `certificate` is the file, null where it is missing.
 * @param {{prediction: object | null, measurement: object | null}} about The row of `latencies` of the same device, and
 *   the measurement that the certificate is about, which stands in for a missing file.
 * @returns {{node: HTMLElement, destroy: () => void}}
 */
export function certificatePart(row, { prediction, measurement }) {
  const file = row.certificate;
  const chart = budgetScale({ budgetMs: row.budget_ms, rows: bands(row, file ?? measurement, prediction) });
  const node = h(
    "div",
    { class: "stack" },
    h("p", { class: "verdict" }, verdictBadge(row.verdict), " ", sentence(row, file)),
    chart.node,
    row.is_missing && h("p", { class: "bad" }, "The certificate's file is missing: ", h("code", null, row.path), ". What is shown is from the database."),
    file && detailsOf(file, prediction),
    file && agreementTable(file.agreement ?? []),
    (file?.warnings ?? []).map((warning) => h("p", { class: "small" }, "⚠ ", warning)),
  );
  return { node, destroy: chart.destroy };
}

function sentence(row, file) {
  const statistic = file?.budget_statistic ?? "median";
  const budgeted = file?.latency_ms?.[statistic] ?? row.measured_latency_ms;
  if (!isNumber(budgeted)) return `budget ${milliseconds(row.budget_ms)} on ${row.device}; not measured`;
  return `${statistic} ${milliseconds(budgeted)} ${row.provenance} of ${milliseconds(row.budget_ms)} on ${row.device}`;
}

function bands(row, file, prediction) {
  const rows = [];
  const run = file?.latency_ms;
  if (run) {
    const marks = [["median", run.median], ["p95", run.p95], ["p99", run.p99]].map(([text, ms]) => ({ text, ms }));
    rows.push({ name: row.provenance, class: "band-run", low: run.min, high: run.max, marks });
  } else if (isNumber(row.measured_latency_ms)) {
    const ms = row.measured_latency_ms;
    rows.push({ name: row.provenance, class: "band-run", low: ms, high: ms, marks: [{ text: "median", ms }] });
  }
  if (prediction?.predicted_interval_ms) {
    const [low, high] = prediction.predicted_interval_ms;
    rows.push({ name: "predicted", class: "band-predicted", low, high, marks: [{ text: "prediction", ms: prediction.predicted_latency_ms }] });
  }
  if (file?.board_interval_ms) {
    const [low, high] = file.board_interval_ms;
    rows.push({ name: "real board", class: "band-board", low, high, marks: [] });
  }
  return rows;
}

function detailsOf(file, prediction) {
  const run = file.latency_ms;
  const kept = file.protocol;
  return facts([
    [`latency ${file.provenance ?? ""}`, run && `median ${milliseconds(run.median)}, p95 ${milliseconds(run.p95)}, p99 ${milliseconds(run.p99)}, cv ${percent(run.cv)}, ${whole(file.samples)} samples`],
    ["predicted interval", prediction?.predicted_interval_ms && `${interval(prediction.predicted_interval_ms)}: about the device as it can be run here`],
    ["board interval", file.board_interval_ms && `${interval(file.board_interval_ms)}: where a real board is expected, as far as the emulator was from real ones`],
    ["runtime", file.device && `${file.device.runtime} ${file.device.runtime_version}, ${file.device.precision}, batch ${file.device.batch}${file.device.power_mode ? `, ${file.device.power_mode}` : ""}`],
    ["protocol", kept && `warm-up ${whole(kept.warmup_ms)} ms, at least ${whole(kept.min_duration_ms)} ms and ${kept.min_repetitions} repetitions, ${kept.transfers ? "with" : "without"} transfers`],
    ["peak memory", isNumber(file.peak_memory_mb) && `${whole(Math.round(file.peak_memory_mb))} MB ${file.provenance ?? ""}`],
    ["written", moment(file.created)],
  ]);
}

function agreementTable(checks) {
  if (!checks.length) return null;
  return tableRoom("Agreement", h(
    "table",
    { class: "table table-lines" },
    h("caption", null, "agreement with the PyTorch model"),
    h("thead", null, h("tr", null, ["check", "computed by", "predictions the same", "largest error", ""].map((name, k) => h("th", { scope: "col", class: k > 1 && k < 4 ? "number" : "" }, name)))),
    h("tbody", null, checks.map((check) => h(
      "tr",
      null,
      h("th", { scope: "row" }, check.check),
      h("td", null, check.runtime),
      h("td", { class: "number" }, `${percent(check.argmax_agreement)} of ${check.num_images}`),
      h("td", { class: "number" }, isNumber(check.max_abs_error) ? check.max_abs_error.toExponential(1) : "–"),
      h("td", null, check.is_met ? "met" : h("strong", { class: "bad" }, "missed")),
    ))),
  ));
}
