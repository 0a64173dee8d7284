/** Where a running search stands: meters for what is counted, and the list of steps. */

import { h } from "../core/dom.js";
import { duration, isNumber, share } from "../core/figures.js";

/** Build the meters; only those for what has begun. */
export function meters({ search, log, figures }) {
  const done = search.progress ?? {};
  const wanted = done.trials_wanted ?? log.wanted;
  const scored = Math.max(figures.scored, done.trials_scored ?? 0);
  const tuned = log.finetune.at(-1);
  const lines = [
    log.stage && search.is_alive && h("p", { class: "small muted" }, `stage: ${log.stage}`),
    log.count && meter(log.count.label, log.count.done, log.count.total, left(log.count.leftS)),
    isNumber(wanted) && meter("subnets scored", Math.min(scored, wanted), wanted, left(log.trialsLeftS)),
    tuned && meter("fine-tuning steps", tuned.step, tuned.steps, isNumber(tuned.accuracy_search ?? tuned.top1_search) ? `${share(tuned.accuracy_search ?? tuned.top1_search, tuned.accuracy_search_interval, tuned.num_images)} on the search split${tuned.leftS ? `, ${left(tuned.leftS)}` : ""}` : ""),
  ].filter(Boolean);
  return lines.length ? lines : h("p", { class: "muted" }, search.state === "queued" ? "waiting for a worker" : "starting");
}

/** How long a stage will take at its pace, to the second or two that people care for. */
function left(seconds) {
  return seconds > 0 ? `about ${duration(Math.max(1, seconds))} left` : "";
}

/** Build the list, newest first; `isRead` says that all events there are were read. */
export function stepList(steps, { isRead }) {
  if (!steps.length) return h("p", { class: "muted" }, isRead ? "No steps were recorded of this search." : "reading…");
  return h("ol", { class: "steps", reversed: true, tabindex: 0, "aria-label": "Steps, newest first" }, [...steps].reverse().map((step) =>
    h("li", { class: step.isState ? "is-state" : "" }, h("time", { class: "muted", datetime: step.at }, clock(step.at)), h("span", null, step.text))));
}

/**
 * A meter of something counted.
 * @param {string} label
 * @param {number} done
 * @param {number | null} total null where it is not known.
 * @param {string} [beside]
 */
export function meter(label, done, total, beside = "") {
  const of = isNumber(total) ? `${done} of ${total}` : `${done}`;
  return h(
    "div",
    { class: "meter" },
    h("div", { class: "meter-head" }, h("span", null, label), h("span", { class: "muted" }, of, beside && ` · ${beside}`)),
    h("progress", { "aria-label": label, max: isNumber(total) ? total : null, value: isNumber(total) ? done : null }),
  );
}

function clock(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? "" : [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}
