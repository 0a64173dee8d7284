/** Shapes of points: circles for the test split, squares for the search split, stars for references, arrows beyond. */

import { s } from "../core/dom.js";

/** Path of a shape around the origin. */
export function markPath(shape, size) {
  if (shape === "square") return `M${-size} ${-size}h${2 * size}v${2 * size}h${-2 * size}z`;
  if (shape === "diamond") return `M0 ${-1.3 * size}L${1.3 * size} 0L0 ${1.3 * size}L${-1.3 * size} 0z`;
  if (shape === "star") return starPath(size);
  if (shape === "arrow") return `M${-size} ${-1.2 * size}L${1.2 * size} 0L${-size} ${1.2 * size}z`;
  return `M${-size} 0a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0z`;
}

/**
 * Build a mark at (x, y).
 * @param {{x: number, y: number, shape: string, size: number, class: string}} about
 */
export function mark({ x, y, shape, size, class: name }) {
  return s("path", {
    class: `mark ${name}`,
    d: markPath(shape, size),
    transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
  });
}

/** Say of a point beyond the end of the axis where it is: an arrow where it is a star, and its figure below. */
export function arrowOf({ x, y, reference }, text) {
  return s("g", { class: "beyond" },
    reference ? mark({ x: x + 5, y, shape: "arrow", size: 4, class: "mark-star is-run" }) : "",
    s("text", { x: x + 6, y: y + 18, "text-anchor": "end" }, `${text}\u00a0ms →`));
}

/** Shape that stands for a split. */
export function shapeOf(split) {
  return split === "test" ? "circle" : "square";
}

function starPath(size) {
  const corners = Array.from({ length: 10 }, (_, k) => {
    const radius = k % 2 ? 0.45 * size : 1.15 * size;
    const angle = (Math.PI * k) / 5 - Math.PI / 2;
    return `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`;
  });
  return `M${corners.join("L")}z`;
}
