/** One subnet: what was kept, what it costs, where it is from, what was proven, and how to get it. */

import { blocksChart } from "../chart/blocks.js";
import { get, pathOf } from "../core/api.js";
import { blockTimes } from "../core/block-times.js";
import { copyButton } from "../core/copy.js";
import { quoted } from "../core/database.js";
import { h } from "../core/dom.js";
import { classesText, count, isNumber, milliseconds, moment, percent, pixels, plainMs, share, shortId, whole } from "../core/figures.js";
import { isRun, latencyOf, originOf } from "../core/latency.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge } from "../parts/badges.js";
import { blockTable } from "../parts/block-table.js";
import { bundleMake } from "../parts/bundle-make.js";
import { bundlePart } from "../parts/bundle.js";
import { certificatePart } from "../parts/certificate.js";
import { classScores } from "../parts/class-scores.js";
import { comparedImages } from "../parts/compared-images.js";
import { lostImages } from "../parts/lost-images.js";
import { commandLine, emptyNote } from "../parts/notes.js";
import { facts, figure, head, panel, tableRoom } from "../parts/panel.js";

/** Build the view. */
export async function view({ path, signal }) {
  const subnet = await get(pathOf("subnets", path[1]), {}, { signal });
  const answer = await answerThatShipped(subnet, signal);
  subnet.latencies = withPrediction(subnet, answer);
  const latency = subnet.latencies.find(isRun) ?? subnet.latencies[0] ?? null;
  const times = blockTimes({ latency, measurements: subnet.measurements, blocks: subnet.blocks });
  const picture = blocksChart({ blocks: subnet.blocks, times });
  const certificates = subnet.certificates.map((row) => ({
    row,
    part: certificatePart(row, {
      prediction: subnet.latencies.find((l) => l.device === row.device) ?? null,
      measurement: subnet.measurements.find((m) => m.measurement_id === row.measurement_id) ?? null,
    }),
  }));
  signal.addEventListener("abort", () => [picture, ...certificates.map((c) => c.part)].forEach((c) => c.destroy()), { once: true });
  const make = bundleMake({
    subnetId: subnet.subnet_id, job: subnet.bundle_job, device: latency?.device ?? null, signal,
    onDone: () => dispatchEvent(new HashChangeEvent("hashchange")),
  });
  const compare = h("a", { class: "button button-small", href: frontLink(subnet, latency, subnet.subnet_id) }, "compare with …");
  const node = h(
    "div",
    { class: "stack" },
    head(`Subnet ${shortId(subnet.subnet_id)}`, {
      crumb: h("a", { href: frontLink(subnet, latency) }, "Front"),
      beside: h("p", { class: "muted" }, `${subnet.base.name} cut for ${classesText(subnet.task.classes)}`),
      tools: [compare, copyButton("copy id", () => subnet.subnet_id)],
    }),
    figures(subnet, latency),
    panel("What was kept of the base", [keptText(subnet), picture.node, timesText(times), blockTable(subnet.blocks, times)], { note: legend(times) }),
    h(
      "div",
      { class: "columns" },
      h("div", { class: "stack" },
        certificates.length
          ? certificates.map(({ row, part }) => panel("Certificate", part.node, { note: moment(row.created_at) }))
          : panel("Certificate", emptyNote("Nothing was proven of this subnet yet. A bundle gets a certificate when it is exported and measured:", exportCommand(subnet, latency))),
        byClass(subnet, answer),
        panel("Bundle", bundlePart(subnet.bundle, make))),
      h("div", { class: "stack" },
        panel("Commands", subnet.commands.map((line) => commandLine(line.command, line.what))),
        panel("Scores", scoreTable(subnet)),
        panel("Latencies", latencyTable(subnet.latencies, subnet.arch_id)),
        panel("Lineage", lineage(subnet))),
    ),
  );
  return { title: `Subnet ${shortId(subnet.subnet_id)}`, node };
}

/** The answer of the search that shipped this subnet; null where none did. */
async function answerThatShipped({ subnet_id: id, study }, signal) {
  if (!study) return null;
  const search = await get(pathOf("searches", study), {}, { signal }).catch((error) => (error.name === "AbortError" ? Promise.reject(error) : null));
  return search?.result?.subnet?.subnet_id === id ? search : null;
}

/** A winner is predicted in the answer of its search; take that where no other prediction is stored. */
function withPrediction({ latencies }, search) {
  if (!search) return latencies;
  const { predicted_latency_ms, predicted_interval_ms } = search.result.subnet;
  return latencies.map((row) => (row.device_id === search.device_id && !row.predicted_interval_ms ? { ...row, predicted_latency_ms, predicted_interval_ms } : row));
}

/** Recall, confusion and lost images, of the bundle as it is now or else of the search that shipped it. */
function byClass({ certificates }, search) {
  const about = certificates.map((row) => row.certificate?.facts).find((found) => found?.scores);
  const [winner, base] = about ? [about.scores, about.base_scores ?? null] : [search?.result.subnet, search?.result.base ?? null];
  const parts = classScores(winner, base);
  if (!parts) return null;
  const compared = comparedImages(search?.study, search?.result.metric);
  const lost = compared ? null : lostImages(search?.study, search?.result.lost_images);
  const folded = lost && h("details", null, h("summary", null, "the test images that the cut lost"), lost);
  return panel("Accuracy by class", [parts, compared, folded], { note: `test split, ${whole(winner.num_images)} images` });
}

function frontLink(subnet, latency, compare = null) {
  return routeTo(["front"], { device: latency?.device, task: subnet.task.task_id, compare });
}

function figures(subnet, latency) {
  const best = bestScore(subnet.scores);
  const smaller = (mine, theirs) => (theirs ? `${percent(mine / theirs, 0)} of the base's ${count(theirs)}` : null);
  return h(
    "div",
    { class: "figures" },
    figure(best?.kind.startsWith("miou") ? "mIoU" : "top1", share(best?.value, best?.interval), best ? `${best.split} split, ${whole(best.num_images)} images${best.kind.endsWith("_derived") ? ", before fine-tuning" : ""}` : "never scored"),
    figure(`latency on ${latency?.device ?? "any device"}`, milliseconds(latency && latencyOf(latency)), latency ? provenanceBadge(originOf(latency)) : "never priced"),
    figure("parameters", count(subnet.params), smaller(subnet.params, subnet.base.params)),
    figure("MACs", count(subnet.macs), smaller(subnet.macs, subnet.base.macs)),
  );
}

function bestScore(scores) {
  const rank = (score) => (["top1", "miou"].includes(score.kind) ? 2 : 0) + (score.split === "test" ? 1 : 0);
  const accuracies = scores.filter((score) => /^(top1|miou)/.test(score.kind) && score.split !== "train");
  return accuracies.sort((a, b) => rank(b) - rank(a))[0] ?? null;
}

function keptText({ blocks, arch, base }) {
  const attn = blocks.filter((b) => b.num_heads).length;
  const mlp = blocks.filter((b) => b.mlp_width).length;
  const sum = (name) => blocks.reduce((total, b) => total + b[name], 0);
  const neurons = sum("mlp_width") / Math.max(1, sum("base_mlp_width"));
  const gone = blocks.filter((b) => !b.kept).length;
  const width = arch.embed_dim === base.arch.embed_dim
    ? `embedding ${arch.embed_dim}, as in the base`
    : `embedding ${arch.embed_dim} of ${base.arch.embed_dim}`;
  const [taken, own] = [arch, base.arch].map((one) => pixels(one.img_size));
  const image = taken === own ? `images of ${taken}, as the base's` : `images of ${taken}, where the base takes ${own}`;
  return h("p", null, `${attn} of ${blocks.length} attention branches, ${mlp} of ${blocks.length} MLPs with ${percent(neurons, 0)} of the neurons; `
    + `${gone ? `${gone} blocks gone` : "no block gone"}; ${width}; ${image}.`);
}

function timesText(times) {
  if (!times) return h("p", { class: "small muted" }, "No latency by block: the device has no table for such nets yet (nuwa profile DEVICE).");
  const parts = times.parts.filter(([, ms]) => isNumber(ms)).map(([name, ms]) => `${name} ${milliseconds(ms)}`);
  return h("p", { class: "small muted" }, `Latency by block: ${times.source}, ${times.origin}. Not in any block: ${parts.join(", ") || "nothing"}.`);
}

function legend(times) {
  const marks = [["kept", "kept"], ["was", "cut"], ["gone", "branch gone"], ...(times ? [["attn", "attention ms"], ["mlp", "MLP ms"]] : [])];
  return h("span", { class: "legend-inline" }, marks.map(([kind, text]) => h("span", { class: "nowrap" }, h("span", { class: `swatch swatch-${kind}` }), text)));
}

/** The command that cuts it again; there is none for a net that was trained, not cut. */
function cutCommand(subnet) {
  return subnet.commands.find(({ command }) => command.startsWith("nuwa derive"))?.command ?? "";
}

function exportCommand(subnet, latency) {
  return subnet.bundle?.dir && !subnet.bundle.is_missing ? `nuwa export ${quoted(subnet.bundle.dir)} --device ${latency?.device ?? "jetson-nano"}` : cutCommand(subnet);
}

function scoreTable({ scores, commands }) {
  if (!scores.length) return emptyNote("Never scored. Cutting it again scores it:", cutCommand({ commands }));
  const isShare = (score) => !/kl|loss/.test(score.kind);
  const names = ["score", "split", "images", "seed", "accuracy (95 %)", "KL, nats"];
  const cells = (score) => [whole(score.num_images), score.seed, isShare(score) ? share(score.value, score.interval) : "", isShare(score) ? "" : score.value.toPrecision(3)];
  return tableRoom("Scores", h("table", { class: "table table-lines" },
    h("thead", null, h("tr", null, names.map((name, k) => h("th", { scope: "col", class: k > 1 ? "number" : "" }, name)))),
    h("tbody", null, scores.map((score) => h("tr", null, h("th", { scope: "row" }, score.kind), h("td", null, score.split),
      cells(score).map((cell) => h("td", { class: "number" }, cell)))))));
}

function latencyTable(latencies, archId) {
  if (!latencies.length) return emptyNote("No latency on any device.", `nuwa predict ${archId} --device jetson-nano`);
  return tableRoom("Latencies", h("table", { class: "table table-lines" },
    h("thead", null, h("tr", null, ["device", "latency, ms", "from", "predicted, ms"].map((name, k) => h("th", { scope: "col", class: k % 2 ? "number" : "" }, name)))),
    h("tbody", null, latencies.map((row) => h("tr", null,
      h("th", { scope: "row" }, h("a", { href: routeTo(["devices", row.device]) }, row.device)),
      h("td", { class: "number" }, plainMs(latencyOf(row))), h("td", null, provenanceBadge(originOf(row))),
      h("td", { class: "number" }, row.predicted_interval_ms ? `${plainMs(row.predicted_latency_ms)} (${row.predicted_interval_ms.map(plainMs).join("–")})` : "–"))))));
}

function lineage(subnet) {
  const steps = subnet.lineage.map((step) => h("li", null,
    h("span", { class: "lineage-step" }, step.step), h("span", null, step.title), step.at && h("span", { class: "muted small" }, moment(step.at))));
  const from = subnet.study && h("p", null, "proposed by ", h("a", { href: routeTo(["searches", subnet.study]) }, subnet.study), isNumber(subnet.trial_number) && ` as trial ${subnet.trial_number}`);
  return [h("ol", { class: "lineage" }, steps), from, facts([
    ["subnet", h("code", null, subnet.subnet_id)], ["arch", h("code", null, subnet.arch_id)], ["task", h("code", null, subnet.task.task_id)], ["base", h("code", null, subnet.base.base_id)],
    ["search split", subnet.task.search_split_seen_by_base ? "seen by the base in its training, as far as is known" : "not seen by the base"],
  ])];
}
