/** Linear and logarithmic scales, and round tick values. */

/**
 * Map `domain` to `range`.
 * @param {[number, number]} domain
 * @param {[number, number]} range
 * @returns {((value: number) => number) & {invert: (pixel: number) => number, domain: [number, number]}}
 */
export function linear(domain, range) {
  const [low, high] = domain;
  const [from, to] = range;
  const factor = high === low ? 0 : (to - from) / (high - low);
  const scale = (value) => from + (value - low) * factor;
  scale.invert = (pixel) => (factor === 0 ? low : low + (pixel - from) / factor);
  scale.domain = domain;
  return scale;
}

/** The same for a domain above 0 of which every factor takes the same room. */
export function logarithmic(domain, range) {
  const inner = linear(domain.map(Math.log10), range);
  const scale = (value) => inner(Math.log10(value));
  scale.invert = (pixel) => 10 ** inner.invert(pixel);
  scale.domain = domain;
  return scale;
}

/** Round values inside [low, high], about `wanted` of them. */
export function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const step = roundStep((high - low) / Math.max(1, wanted));
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k += 1) found.push(k * step);
  return found;
}

/** Round values inside [low, high] on a logarithmic axis: 1, 2 and 5 times powers of ten. */
export function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
  }
  return found.filter((value) => value >= low && value <= high);
}

/** Decimals needed to write all ticks as they are; at most six. */
export function decimalsOf(values) {
  const isWritten = (digits) => values.every((value) => Math.abs(value * 10 ** digits - Math.round(value * 10 ** digits)) < 1e-6);
  return [0, 1, 2, 3, 4, 5].find(isWritten) ?? 6;
}

/** Smallest and greatest of `values`, widened by a share of their distance on both sides. */
export function extent(values, share = 0.05) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

function roundStep(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  const share = raw / power;
  if (share <= 1) return power;
  if (share <= 2) return 2 * power;
  if (share <= 2.5) return 2.5 * power;
  return share <= 5 ? 5 * power : 10 * power;
}
