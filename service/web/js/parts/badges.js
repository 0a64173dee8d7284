/** Words in small frames: where a figure is from, how a search stands, what a certificate says. */

import { h } from "../core/dom.js";
import { originOf } from "../core/latency.js";

/** `measured` and `emulated` are filled, `predicted` hollow, as in the charts. */
export function originBadge(row) {
  return provenanceBadge(originOf(row));
}

/** Badge of a provenance or origin word. */
export function provenanceBadge(word) {
  const kind = word.startsWith("predicted") ? "badge-hollow" : "badge-filled";
  return h("span", { class: `badge ${kind}` }, word);
}

/** State of a search. */
export function stateBadge(state, isAlive = true) {
  const lost = state === "running" && !isAlive;
  const text = lost ? "running, no sign of life" : state;
  const kind = { running: "badge-live", queued: "badge-hollow", done: "badge-filled" }[state] ?? "badge-bad";
  return h("span", { class: `badge ${lost ? "badge-bad" : kind}` }, text);
}

/** Verdict of a certificate. */
export function verdictBadge(verdict) {
  return h("span", { class: `badge badge-verdict ${verdict.startsWith("met") ? "badge-filled" : "badge-bad"}` }, verdict);
}
