/** Words for boards that answer together. */

import { h } from "../core/dom.js";

/** `4 × jetson-nano, jetson-orin-nano`. */
export function boardsText(devices) {
  const counts = new Map();
  for (const device of devices) counts.set(device, (counts.get(device) ?? 0) + 1);
  return [...counts].map(([device, count]) => (count > 1 ? `${count} × ${device}` : device)).join(", ");
}

/** What a decomposition ships. */
export function shippedBadge(shipped) {
  const isTogether = shipped === "collaboration";
  return h("span", { class: `badge ${isTogether ? "badge-filled" : "badge-hollow"}` }, isTogether ? "all boards" : "one board alone");
}
