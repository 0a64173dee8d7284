/** Asks the API for what the front view needs: fronts and pages, never everything. */

import { apiUrl, get } from "../core/api.js";
import { isNumber } from "../core/figures.js";
import { frontOf, isRun, latencyOf } from "../core/latency.js";
import { PAGE } from "./front-state.js";

const MOST_ROWS = 1000; // the API's longest page; a front is far shorter
const MOST_OTHERS = 300; // subnets beside the front that the chart shows, the most accurate ones

/** Read devices and choose the one to show: the one asked for, or the one with most subnets. */
export async function readDevices(wanted, signal) {
  const { rows } = await get("/devices", {}, { signal });
  const known = rows.filter((row) => row.num_subnets > 0).sort((a, b) => b.num_subnets - a.num_subnets);
  const names = [...new Map(known.map((row) => [row.name, row])).values()];
  return { devices: names, device: wanted ?? names[0]?.name ?? null };
}

/** Read the tasks of a device and choose one: the one asked for, or the first (the newest). */
export async function readTasks(state, device, signal) {
  const { rows } = await get("/tasks", { device }, { signal });
  return { tasks: rows, task: rows.some((row) => row.task_id === state.task) ? state.task : (rows[0]?.task_id ?? null) };
}

/** Read front, other subnets and references of one device and task. */
export async function readFront(state, { device, task }, signal) {
  const about = { device, task_id: task, base: state.base, measured_only: state.isMeasuredOnly };
  const [front, others, bases] = await Promise.all([
    get("/subnets", { ...about, pareto: true, sort: "latency", limit: MOST_ROWS }, { signal }),
    get("/subnets", { ...about, sort: "top1", limit: MOST_OTHERS }, { signal }),
    get("/bases", { device, task_id: task, base: state.base }, { signal }),
  ]);
  const onFront = frontOf(front.rows);
  const ids = new Set(onFront.map((row) => row.subnet_id));
  return {
    front: onFront,
    others: others.rows.filter((row) => !ids.has(row.subnet_id) && isNumber(row.top1) && isNumber(latencyOf(row))),
    references: bases.rows.map(referenceOf).filter((row) => isNumber(row.top1) && isNumber(latencyOf(row))),
    hasMore: others.next_offset !== null && others.next_offset !== undefined,
  };
}

/** Parameters of the table, which are those of `nuwa query`. */
export function tableQuery(state, { device, task }) {
  return {
    device,
    task_id: task,
    base: state.base,
    measured_only: state.isMeasuredOnly,
    max_ms: state.isUnderBudget ? state.budget : null,
    min_top1: state.minTop1,
    sort: state.sort,
  };
}

/** Read one page of the table. */
export function readPage(state, place, signal) {
  return get("/subnets", { ...tableQuery(state, place), limit: PAGE, offset: state.offset || null }, { signal });
}

/** Address of the table as CSV, as long as the API gives it at once. */
export function csvAddress(state, place) {
  return new URL(apiUrl("/subnets", { ...tableQuery(state, place), limit: MOST_ROWS, format: "csv" }), location.href).href;
}

/** Budget to begin with: a round number just above the most accurate subnet that was run, else above the front. */
export function firstBudget(front) {
  const run = front.filter(isRun);
  const last = (run.length ? run : front).at(-1);
  if (!last) return null;
  const unit = 10 ** (Math.floor(Math.log10(latencyOf(last))) - 1);
  return Number((Math.ceil(latencyOf(last) / unit) * unit).toPrecision(3));
}

function referenceOf(row) {
  const kind = row.kind ?? "base";
  return {
    kind,
    label: kind === "small_model" ? "small model" : "base",
    name: row.base,
    subnet_id: row.subnet_id ?? null,
    study: row.study,
    measured_latency_ms: row.latency_ms,
    provenance: row.provenance,
    top1: row.top1_restricted ?? row.top1,
    top1_interval: row.top1_restricted_interval ?? row.top1_interval ?? null,
    top1_all_classes: row.top1_all_classes,
    split: row.split ?? "test",
    num_images: row.num_images ?? null,
    params: row.params,
    macs: row.macs,
  };
}
