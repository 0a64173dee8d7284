/** Outliers: values so far beyond the others that an axis reaching them would press the others together. */

import { isNumber } from "../core/figures.js";

export const FAR = 4; // times the next smaller value: an axis that went on would leave the others a quarter of its length
const MOST = 0.1; // share of the values, at least one, that may be outliers; more of them are what is shown

/**
 * Largest value that an axis has to reach; what is larger is drawn at its end, as an arrow with its figure.
 * @param {number[]} values
 * @returns {number} Infinity where there is no outlier.
 */
export function fenceOf(values) {
  const sorted = values.filter(isNumber).sort((a, b) => a - b);
  if (sorted.length < 3) return Infinity;
  const most = Math.max(1, Math.floor(MOST * sorted.length));
  for (let k = sorted.length - most; k < sorted.length; k += 1) {
    if (sorted[k] > FAR * sorted[k - 1]) return sorted[k - 1];
  }
  return Infinity;
}
