/** A small box beside a point of a chart. */

import { h, show } from "../core/dom.js";

/**
 * Build a tooltip for a chart's host (which is positioned).
 * @returns {{node: HTMLElement, open: (x: number, y: number, lines: unknown[]) => void, close: () => void}}
 */
export function tooltip() {
  const node = h("div", { class: "tip", role: "status", hidden: true });
  return {
    node,
    open(x, y, lines) {
      show(node, ...lines.map((line) => h("div", null, line)));
      node.hidden = false;
      const room = node.parentElement?.clientWidth ?? 0;
      const width = node.offsetWidth;
      const left = x + 14 + width > room ? Math.max(0, x - 14 - width) : x + 14;
      node.style.setProperty("left", `${Math.min(left, Math.max(0, room - width))}px`);
      node.style.setProperty("top", `${Math.max(0, y - node.offsetHeight - 8)}px`);
    },
    close() {
      node.hidden = true;
    },
  };
}
