/** Latency of each block: summed from the kernels that were run, or the times of the latency table. */

import { isNumber } from "./figures.js";

const ATTENTION = /^(attn|norm1|sum1|ls1|drop_path1)\b/;
const LEAST_SHARE = 0.5; // of the time in kernels that name their block; below that names mean something else

/**
 * Sum a measurement's kernels by block of the base.
 * @param {{name: string, ms: number}[]} breakdown Kernels by the names of the exported graph (`blocks.2.mlp.fc1`),
 *   whose blocks count those that are left.
 * @param {{index: number, kept: boolean}[]} blocks Blocks of the base.
 * @returns {{blocks: {index: number, attn_ms: number, mlp_ms: number}[], rest_ms: number} | null} null if the names
 *   do not tell.
 */
export function timesFromKernels(breakdown, blocks) {
  const left = blocks.filter((block) => block.kept).map((block) => block.index);
  const times = new Map(blocks.map((block) => [block.index, { index: block.index, attn_ms: 0, mlp_ms: 0 }]));
  let [named, rest] = [0, 0];
  for (const kernel of breakdown ?? []) {
    const found = /blocks\.(\d+)\.([\w.]+)/.exec(kernel.name);
    const time = found && times.get(left[Number(found[1])]);
    if (!time) {
      rest += kernel.ms;
      continue;
    }
    time[ATTENTION.test(found[2]) ? "attn_ms" : "mlp_ms"] += kernel.ms;
    named += kernel.ms;
  }
  return named > LEAST_SHARE * (named + rest) ? { blocks: [...times.values()], rest_ms: rest } : null;
}

/**
 * Choose the times to show on one device: run before predicted.
 * @param {{latency: object, measurements: object[], blocks: object[]}} about A row of `latencies`, all measurements.
 * @returns {{blocks: object[], origin: string, rest: string} | null}
 */
export function blockTimes({ latency, measurements, blocks }) {
  const measurement = measurements.find((m) => m.measurement_id === latency?.measurement_id) ?? null;
  const run = measurement && timesFromKernels(measurement.breakdown, blocks);
  if (run) {
    const origin = measurement.provenance === "emulated" ? "emulated" : "measured";
    return { blocks: run.blocks, origin, parts: [["stem and head", run.rest_ms]], source: "sums of the kernels that were run" };
  }
  const predicted = latency?.by_block;
  if (!predicted) return null;
  const parts = [["stem and head", predicted.stem_ms], ["overlap", predicted.overlap_ms]].filter(([, ms]) => isNumber(ms));
  return { blocks: predicted.blocks, origin: "predicted", parts, source: "times of the latency table, each branch alone" };
}
