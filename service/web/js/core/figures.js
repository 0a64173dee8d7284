/** Numbers as people read them: unit and provenance always beside the value. The same rules as the command line. */

const SPACE = "\u00a0"; // no-break, between number and unit
const DASH = "–";

/** `224 px`, or `224×168 px`, height first, of an image that is no square. */
export function pixels(size) {
  return `${[size].flat().join("×")}${SPACE}px`;
}

/** `5.44 ms`, `29.4 ms`; a dash when not known. */
export function milliseconds(value) {
  return isNumber(value) ? `${plainMs(value)}${SPACE}ms` : DASH;
}

/** `5.44`, without unit, for tables that name it in the head. */
export function plainMs(value) {
  if (!isNumber(value)) return DASH;
  if (value >= 100) return value.toFixed(0);
  return value < 10 ? value.toFixed(value < 0.1 ? 4 : 2) : value.toFixed(1);
}

/** `5.45-5.48 ms` from a pair of ends. */
export function interval(ends) {
  return Array.isArray(ends) ? `${plainMs(ends[0])}–${plainMs(ends[1])}${SPACE}ms` : DASH;
}

/** `85.6 %` from a fraction. */
export function percent(share, digits = 1) {
  return isNumber(share) ? `${(100 * share).toFixed(digits)}${SPACE}%` : DASH;
}

/** `85.6 % (80.2–90.1)` from a fraction and its 95 % interval; where `images` is given, with their number. */
export function share(value, ends, images = null) {
  const about = [
    Array.isArray(ends) && `${(100 * ends[0]).toFixed(1)}–${(100 * ends[1]).toFixed(1)}`,
    isNumber(images) && images > 0 && `${whole(images)} images`,
  ].filter(Boolean);
  return isNumber(value) && about.length ? `${percent(value)} (${about.join(", ")})` : percent(value);
}

const Z = 1.959964; // of 95 %

/** 95 % interval of a share of so many images, by Wilson, as the API gives it; null where the number is not known. */
export function wilson(value, images) {
  if (!isNumber(value) || !(images > 0)) return null;
  const middle = value + (Z * Z) / (2 * images);
  const reach = Z * Math.sqrt((value * (1 - value)) / images + (Z * Z) / (4 * images * images));
  return [middle - reach, middle + reach].map((end) => Math.min(1, Math.max(0, end / (1 + (Z * Z) / images))));
}

/** `+1.2 points` from a difference of two fractions. */
export function points(difference) {
  if (!isNumber(difference)) return DASH;
  return `${signed(100 * difference, 1)}${SPACE}points`;
}

/** `+1.2`, `−0.4`. */
export function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return `${value < 0 ? "−" : "+"}${text}`;
}

/** `5.38 M` from a count. */
export function count(value) {
  if (!isNumber(value)) return DASH;
  for (const [limit, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= limit) return `${Number((value / limit).toPrecision(3))}${SPACE}${prefix}`;
  }
  return String(Math.round(value));
}

/** One unit for a column of counts: `unit` (such as `M`) belongs into its head, `text` writes a cell without it. */
export function countColumn(values) {
  const most = Math.max(0, ...values.filter(isNumber));
  const [limit, unit, digits] = [[1e9, "G", 2], [1e6, "M", 2], [1e3, "k", 1]].find(([least]) => most >= least) ?? [1, "", 0];
  return { unit, text: (value) => (isNumber(value) ? (value / limit).toFixed(digits) : DASH) };
}

/** `12 345`. */
export function whole(value) {
  return isNumber(value) ? value.toLocaleString("en").replaceAll(",", SPACE) : DASH;
}

/** `38`, `1 000 or more`: the API stops counting subnets at a thousand per device and task. */
export function atLeast(value) {
  return isNumber(value) && value >= 1000 ? `${whole(value)} or more` : whole(value);
}

/** `9.6 MB` from bytes. */
export function bytes(value) {
  if (!isNumber(value)) return DASH;
  for (const [limit, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (value >= limit) return `${(value / limit).toFixed(1)}${SPACE}${unit}`;
  }
  return `${value}${SPACE}B`;
}

/** `2 min 05 s` from seconds. */
export function duration(seconds) {
  if (!isNumber(seconds)) return DASH;
  if (seconds < 10) return `${seconds.toFixed(1)}${SPACE}s`;
  const total = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60), total % 60];
  if (hours) return `${hours}${SPACE}h ${String(minutes).padStart(2, "0")}${SPACE}min`;
  return minutes ? `${minutes}${SPACE}min ${String(rest).padStart(2, "0")}${SPACE}s` : `${rest}${SPACE}s`;
}

/** `2026-11-20 18:55` in the reader's time zone. */
export function moment(text) {
  if (!text) return DASH;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return String(text);
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** First eight digits of an id. */
export function shortId(id) {
  return id ? String(id).slice(0, 8) : DASH;
}

/** `5 classes: bus, train, …` in few words. */
export function classesText(classes, most = 5) {
  if (!Array.isArray(classes) || !classes.length) return "all classes";
  if (classes.length <= most) return classes.join(", ");
  return `${classes.length} classes: ${classes.slice(0, most - 1).join(", ")}, …`;
}

/** Whether `value` is a finite number. */
export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
