/** What a tooltip says about a subnet or a reference. */

import { h } from "../core/dom.js";
import { count, interval, share, shortId, whole } from "../core/figures.js";
import { latencyText } from "../core/latency.js";

/** Lines for `row`: accuracy with its split, latency with its origin, size, where it is from. */
export function rowLines(row) {
  const images = row.num_images ? `, ${whole(row.num_images)} images` : "";
  const isDerived = row.score_kind === "top1_derived";
  return [
    h("strong", null, `${share(row.top1, row.top1_interval)} top1`),
    `${row.split ?? "unknown"} split${images}${isDerived ? ", before fine-tuning" : ""}`,
    latencyText(row),
    ...(row.predicted_interval_ms ? [`interval ${interval(row.predicted_interval_ms)} predicted`] : []),
    `${count(row.params)} parameters, ${count(row.macs)} MACs`,
    row.subnet_id ? `subnet ${shortId(row.subnet_id)}` : `${row.label} ${row.name ?? ""}`,
  ];
}
