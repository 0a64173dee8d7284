/** The best subnet under a budget, and what 10 % more or less would change. */

import { h, show } from "../core/dom.js";
import { count, interval, isNumber, milliseconds, percent, points, share, shortId, whole } from "../core/figures.js";
import { bestUnder, latencyOf } from "../core/latency.js";
import { routeTo } from "../core/route.js";
import { originBadge } from "./badges.js";
import { commandLine } from "./notes.js";

const STEP = 0.1;

/** Say in one sentence what a budget buys, for screen readers. */
export function describeBudget(front, budgetMs) {
  const best = bestUnder(front, budgetMs);
  if (!best) return "no subnet known is that fast";
  return `best: ${share(best.top1, best.top1_interval)} top1 on the ${best.split} split at ${milliseconds(latencyOf(best))}`;
}

/**
 * Build the read-out.
 * @param {{onBudget: (ms: number) => void, onHover: (id: string | null) => void}} handlers
 * @returns {{node: HTMLElement, update: (about: {front: object[], references: object[], budgetMs: number}) => void}}
 */
export function readout({ onBudget, onHover }) {
  const field = h("input", {
    type: "number", id: "budget", class: "readout-field", step: "any", min: 0, inputmode: "decimal",
    on: { change: () => Number(field.value) > 0 && onBudget(Number(Number(field.value).toPrecision(6))) },
  });
  const body = h("div", { class: "stack", "data-testid": "readout" });
  const node = h(
    "section",
    { class: "panel readout", "aria-label": "Best under the budget" },
    h("div", { class: "panel-head" }, h("h2", null, h("label", { for: "budget" }, "Best under")), h("span", { class: "field-unit" }, field, "ms")),
    h("div", { class: "panel-body" }, body),
  );
  return {
    node,
    update({ front, references, budgetMs }) {
      if (document.activeElement !== field || Number(field.value) !== budgetMs) field.value = String(budgetMs);
      const best = bestUnder(front, budgetMs);
      show(body, best ? bestPart(best, references, onHover) : nothingPart(front, budgetMs), stepsPart(front, best, budgetMs, onHover));
    },
  };
}

function bestPart(best, references, onHover) {
  const base = references.find((row) => row.kind === "base");
  return [
    h(
      "div",
      { class: "readout-best" },
      h("div", { class: "readout-value" }, percent(best.top1)),
      h("div", { class: "readout-about" }, `top1${sureness(best)}, `, splitOf(best)),
    ),
    h("div", null, h("strong", null, milliseconds(latencyOf(best))), " ", originBadge(best)),
    best.predicted_interval_ms && h("div", { class: "small muted" }, `interval ${interval(best.predicted_interval_ms)} predicted`),
    h("div", { class: "small muted" }, `${count(best.params)} parameters, ${count(best.macs)} MACs`),
    base && h(
      "div",
      { class: "small muted" },
      `base: ${share(base.top1, base.top1_interval, base.num_images)} on the ${base.split} split at ${milliseconds(latencyOf(base))} ${base.provenance}, `,
      `${(latencyOf(base) / latencyOf(best)).toFixed(1)} times the latency`,
    ),
    h("div", null, subnetLink(best, onHover, `subnet ${shortId(best.subnet_id)}`)),
    best.derive_command && commandLine(best.derive_command, "cut it again, as it was scored"),
  ];
}

function nothingPart(front, budgetMs) {
  const fastest = front[0];
  return h(
    "p",
    null,
    `No subnet known here takes ${milliseconds(budgetMs)} or less.`,
    fastest && ` The fastest takes ${milliseconds(latencyOf(fastest))}.`,
  );
}

function stepsPart(front, best, budgetMs, onHover) {
  const next = front.find((row) => latencyOf(row) > budgetMs);
  return h(
    "dl",
    { class: "readout-steps" },
    stepLine(`10${"\u00a0"}% more`, budgetMs * (1 + STEP), front, best, onHover),
    stepLine(`10${"\u00a0"}% less`, budgetMs * (1 - STEP), front, best, onHover),
    next && [
      h("dt", null, "next step up"),
      h("dd", null, `${milliseconds(latencyOf(next))} for ${gain(next, best)} `, subnetLink(next, onHover)),
    ],
  );
}

function stepLine(name, budgetMs, front, best, onHover) {
  const found = bestUnder(front, budgetMs);
  const isSame = found && best && found.subnet_id === best.subnet_id;
  return [
    h("dt", null, `${name} (${milliseconds(budgetMs)})`),
    h("dd", null, !found ? "nothing is that fast" : isSame ? "changes nothing" : [`${gain(found, best)} `, subnetLink(found, onHover)]),
  ];
}

/** Accuracies on two splits are no difference to be named. */
function gain(row, best) {
  const alone = share(row.top1, row.top1_interval, row.num_images);
  if (!best || !isNumber(best.top1)) return `${alone} on the ${row.split} split`;
  if (row.split !== best.split) return `${alone} on the ${row.split} split`;
  const isWithin = best.top1_interval && row.top1 >= best.top1_interval[0] && row.top1 <= best.top1_interval[1];
  return `${points(row.top1 - best.top1)}${isWithin ? ", within the interval" : ""}`;
}

function sureness({ top1_interval: ends }) {
  return ends ? `, 95\u00a0% interval ${(100 * ends[0]).toFixed(1)}–${(100 * ends[1]).toFixed(1)}` : "";
}

function splitOf(row) {
  return `${row.split} split${row.num_images ? `, ${whole(row.num_images)} images` : ""}`;
}

function subnetLink(row, onHover, text = shortId(row.subnet_id)) {
  return h("a", {
    href: routeTo(["subnets", row.subnet_id]),
    on: {
      mouseenter: () => onHover(row.subnet_id), mouseleave: () => onHover(null),
      focus: () => onHover(row.subnet_id), blur: () => onHover(null),
    },
  }, text);
}
