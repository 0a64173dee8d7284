/** Routes live in the address after `#`: `#/front?device=jetson-nano&budget=5.5`. All state is there, to be shared. */

/**
 * Read a route.
 * @param {string} hash `location.hash`.
 * @returns {{path: string[], query: URLSearchParams}}
 */
export function parseRoute(hash) {
  const text = hash.startsWith("#/") ? hash.slice(2) : "front";
  const cut = text.indexOf("?");
  const path = (cut < 0 ? text : text.slice(0, cut)).split("/").filter(Boolean).map(decoded);
  return { path: path.length ? path : ["front"], query: new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1)) };
}

/**
 * Write a route; empty values are left out.
 * @param {string[]} path
 * @param {Object<string, unknown>} [query]
 * @returns {string}
 */
export function routeTo(path, query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) {
      params.set(name, value === true ? "1" : String(value));
    }
  }
  const text = params.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Change the address without a new entry in the history and without drawing the view anew. */
export function rewriteRoute(path, query) {
  const hash = routeTo(path, query);
  if (hash !== location.hash) history.replaceState(history.state, "", hash);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
