/** What the front view shows, as it stands in the address. */

import { rewriteRoute } from "../core/route.js";

export const PAGE = 25;
const SORTS = ["top1", "latency", "macs", "params", "newest"];

/**
 * Read the state.
 * @param {URLSearchParams} query
 */
export function stateFrom(query) {
  const sort = query.get("sort");
  return {
    device: query.get("device"),
    task: query.get("task"),
    base: query.get("base"),
    budget: positive(query.get("budget")),
    minTop1: positive(query.get("min_top1")),
    isMeasuredOnly: query.get("measured_only") === "1",
    isUnderBudget: query.get("under") === "1",
    sort: SORTS.includes(sort) ? sort : "top1",
    offset: Math.max(0, Number.parseInt(query.get("offset") ?? "0", 10) || 0),
    zoom: query.get("zoom") === "front" ? "front" : "all",
    compare: (query.get("compare") ?? "").split(",").filter(Boolean).slice(0, 2),
  };
}

/** Write the state into the address; defaults are left out. */
export function writeState(state) {
  rewriteRoute(["front"], {
    device: state.device,
    task: state.task,
    base: state.base,
    budget: state.budget,
    min_top1: state.minTop1,
    measured_only: state.isMeasuredOnly,
    under: state.isUnderBudget,
    sort: state.sort === "top1" ? null : state.sort,
    offset: state.offset || null,
    zoom: state.zoom === "all" ? null : state.zoom,
    compare: state.compare.join(","),
  });
}

function positive(text) {
  const value = text === null ? Number.NaN : Number(text);
  return Number.isFinite(value) && value > 0 ? value : null;
}
