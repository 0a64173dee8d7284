/** What a bundle is, in words that nobody can take for more: trained or as it was cut, certified or not. */

import { h } from "../core/dom.js";
import { milliseconds } from "../core/figures.js";
import { verdictBadge } from "./badges.js";

/** Badges of a bundle: `is_finetuned` and `devices` as the API gives them; null where its files are not read. */
export function bundleLabels({ is_finetuned: isTuned, devices }) {
  if (isTuned === null || isTuned === undefined) return [];
  const badge = (text) => [h("span", { class: "badge badge-hollow" }, text), " "];
  return [isTuned ? badge("fine-tuned") : badge("not fine-tuned"), devices.length ? devices.map((one) => h("div", { class: "nowrap" }, certified(one))) : badge("not exported")];
}

function certified(one) {
  if (one.budget_ms === null) return [h("span", { class: "badge badge-hollow" }, `not certified: ${one.verdict} on ${one.device}`), " "];
  return [verdictBadge(one.verdict), ` ${milliseconds(one.budget_ms)} on ${one.device} `];
}
