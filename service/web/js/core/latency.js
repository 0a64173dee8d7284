/** Which latency of a row counts, and how it was obtained; the rule of `nuwa query`. */

import { interval, isNumber, milliseconds } from "./figures.js";

/** Latency that budgets go by: measured, or predicted where none was measured. */
export function latencyOf(row) {
  return isNumber(row.measured_latency_ms) ? row.measured_latency_ms : row.predicted_latency_ms;
}

/** Whether the latency of `row` comes from running the model on its (real or emulated) device. */
export function isRun(row) {
  return isNumber(row.measured_latency_ms);
}

/** `measured`, `emulated`, `predicted`, `predicted (emulated)`, `predicted (transferred)`. */
export function originOf(row) {
  if (isRun(row)) return row.provenance === "emulated" ? "emulated" : "measured";
  return row.provenance === "measured" || !row.provenance ? "predicted" : `predicted (${row.provenance})`;
}

/** `5.44 ms emulated`, `5.46 ms predicted (emulated)`. */
export function latencyText(row) {
  return `${milliseconds(latencyOf(row))} ${originOf(row)}`;
}

/** `predicted 5.45–5.48 ms`, empty where nothing was predicted. */
export function predictedText(row) {
  return Array.isArray(row.predicted_interval_ms) ? `predicted ${interval(row.predicted_interval_ms)}` : "";
}

/** Rows that no other one beats in latency and accuracy, fastest first. */
export function frontOf(rows) {
  const sorted = rows
    .filter((row) => isNumber(row.top1) && isNumber(latencyOf(row)))
    .sort((a, b) => latencyOf(a) - latencyOf(b) || b.top1 - a.top1);
  const front = [];
  for (const row of sorted) {
    if (!front.length || row.top1 > front[front.length - 1].top1) front.push(row);
  }
  return front;
}

/** The most accurate row of a front (fastest first) within a budget; null if none is that fast. */
export function bestUnder(front, budgetMs) {
  let best = null;
  for (const row of front) if (latencyOf(row) <= budgetMs) best = row;
  return best;
}
