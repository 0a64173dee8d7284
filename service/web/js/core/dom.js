/** Builds elements. Text always becomes text nodes: nothing that comes from data is ever parsed as HTML. */

const SVG_NS = "http://www.w3.org/2000/svg";

/**
 * Build an HTML element.
 * @param {string} tag
 * @param {Object<string, unknown>} [props] Attributes; `class`, `on` (listeners), `data` (data-*), `style` (CSSOM).
 *   null, undefined and false leave an attribute out, true writes it empty.
 * @param {...unknown} children Nodes, strings, numbers, or arrays of them; null and false are left out.
 * @returns {HTMLElement}
 */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Build an SVG element; arguments as in `h`. */
export function s(tag, props, ...children) {
  return fill(document.createElementNS(SVG_NS, tag), props, children);
}

/** Replace everything inside `node`. */
export function show(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node.append(...flat(children).flatMap((child) => (typeof child === "string" && canHoldSpans(node) ? unbroken(child) : child)));
  return node;
}

const INTERVAL = /(\(?[\d.]+–[\d.]+(?:\u00a0\S+|\))?)/; // 65.9–74.8, (65.9–74.8), 4.27–7.06 ms

function canHoldSpans(node) {
  return node instanceof HTMLElement && !["OPTION", "TITLE", "TEXTAREA"].includes(node.tagName);
}

/** Keep the two ends of an interval on one line: browsers break behind a dash. */
function unbroken(text) {
  if (!INTERVAL.test(text)) return [text];
  return text.split(INTERVAL).filter(Boolean).map((part) => {
    if (!INTERVAL.test(part)) return part;
    const span = document.createElement("span");
    span.className = "nowrap";
    span.append(part);
    return span;
  });
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") {
    for (const [kind, listener] of Object.entries(value)) node.addEventListener(kind, listener);
  } else if (name === "data") {
    for (const [key, text] of Object.entries(value)) node.dataset[key] = text;
  } else if (name === "style") {
    // Through the CSSOM: the content security policy forbids style attributes.
    for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== true)
    .map((child) => (typeof child === "number" ? String(child) : child));
}
