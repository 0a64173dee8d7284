/** The budget: a line to drag with mouse or finger, or to move with the arrow keys. */

import { milliseconds } from "../core/figures.js";
import { s } from "../core/dom.js";

const STEP = 0.01; // of the visible range, for one press of an arrow key
const BIG_STEP = 10; // times that with Shift, Page Up and Page Down

/**
 * Draw the line into `plot`.
 * @param {object} about
 * @param {{x: number, y: number, w: number, h: number}} about.plot
 * @param {Function} about.x Scale of the latency axis.
 * @param {number} about.value Budget in milliseconds.
 * @param {(ms: number, isFinal: boolean) => void} about.onChange
 * @param {(ms: number) => string} about.describe What the budget buys, for screen readers.
 * @returns {{node: SVGElement, set: (ms: number) => void}}
 */
export function budgetLine({ plot, x, value, onChange, describe }) {
  const [low, high] = [x.invert(plot.x), x.invert(plot.x + plot.w)];
  const shade = s("rect", { class: "infeasible", y: plot.y, height: plot.h });
  const line = s("path", { class: "budget-stroke" });
  const hit = s("rect", { class: "budget-hit", y: plot.y - 24, width: 28, height: plot.h + 24 });
  const knob = s("rect", { class: "budget-knob", y: plot.y - 22, width: 72, height: 20, rx: 3 });
  const text = s("text", { class: "budget-text", y: plot.y - 8, "text-anchor": "middle" });
  const slider = s(
    "g",
    { class: "budget", role: "slider", tabindex: 0, "aria-label": "latency budget", "aria-orientation": "horizontal" },
    hit, line, knob, text,
  );
  let budget = value;

  const set = (ms) => {
    budget = ms;
    const at = Math.min(Math.max(x(ms), plot.x), plot.x + plot.w);
    const middle = Math.min(Math.max(at, plot.x + 36), plot.x + plot.w - 36);
    shade.setAttribute("x", at);
    shade.setAttribute("width", Math.max(0, plot.x + plot.w - at));
    line.setAttribute("d", `M${at} ${plot.y - 2}V${plot.y + plot.h}`);
    hit.setAttribute("x", at - 14);
    knob.setAttribute("x", middle - 36);
    text.setAttribute("x", middle);
    const arrow = ms > high ? " →" : ms < low ? "← " : "";
    text.textContent = ms < low ? arrow + milliseconds(ms) : milliseconds(ms) + arrow;
    slider.setAttribute("aria-valuemin", low.toFixed(3));
    slider.setAttribute("aria-valuemax", Math.max(high, ms).toFixed(3));
    slider.setAttribute("aria-valuenow", ms.toFixed(3));
    slider.setAttribute("aria-valuetext", `${milliseconds(ms)}; ${describe(ms)}`);
  };

  const change = (ms, isFinal) => {
    const kept = Number(Math.max(ms, 0.001).toPrecision(3));
    set(kept);
    onChange(kept, isFinal);
  };

  const fromPointer = (event) => {
    const box = slider.ownerSVGElement.getBoundingClientRect();
    return Math.min(Math.max(x.invert(event.clientX - box.left), Math.max(low, 0)), high);
  };

  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    slider.setPointerCapture(event.pointerId);
    slider.classList.add("is-dragged");
    event.preventDefault();
    slider.focus({ preventScroll: true });
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) change(fromPointer(event), false);
  });
  const release = () => {
    slider.classList.remove("is-dragged");
    change(budget, true);
  };
  slider.addEventListener("pointerup", release);
  slider.addEventListener("pointercancel", release);
  slider.addEventListener("keydown", (event) => {
    const step = (high - low) * STEP * (event.shiftKey ? BIG_STEP : 1);
    const moves = {
      ArrowRight: budget + step, ArrowUp: budget + step, ArrowLeft: budget - step, ArrowDown: budget - step,
      PageUp: budget + BIG_STEP * step, PageDown: budget - BIG_STEP * step, Home: low, End: high,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    change(Math.min(Math.max(moves[event.key], Math.max(low, 0)), high), true);
  });
  set(value);
  return { node: s("g", null, shade, slider), set };
}
