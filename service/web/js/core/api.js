/** Speaks to `/api/v1`. Failures become `Problem`, which carries the server's words and its hint. */

const ROOT = "/api/v1";

let viewId = "";

/** Begin a view: its questions carry one id, by which the lines that the service logs of it belong together. */
export function beginView() {
  viewId = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What went wrong, in the server's words (problem+json, RFC 9457). */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {{hint?: string, status?: number, errors?: {where: string, what: string}[]}} [about]
   */
  constructor(message, { hint = "", status = 0, errors = [] } = {}) {
    super(message);
    this.hint = hint;
    this.status = status;
    this.errors = errors;
  }
}

/** Write the address of an endpoint; empty parameters are left out. */
export function apiUrl(path, query = {}) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "" && value !== false) params.set(name, String(value));
  }
  const text = params.toString();
  return `${ROOT}${path}${text ? `?${text}` : ""}`;
}

/** Join parts of a path, each escaped. */
export function pathOf(...parts) {
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

const ahead = new Map(); // answers that were asked for before the view that needs them

/** Ask now what a view will ask for once its files are there; the next `get` of this path takes the answer. */
export function askAhead(path) {
  const answer = request(apiUrl(path)).then((response) => response.json());
  answer.catch(() => {}); // whoever takes it is told
  ahead.set(path, answer);
}

/** Read JSON. */
export async function get(path, query, { signal } = {}) {
  if (ahead.has(path) && Object.keys(query ?? {}).length === 0) {
    const answer = ahead.get(path);
    ahead.delete(path);
    return answer;
  }
  return (await request(apiUrl(path, query), { signal })).json();
}

/** Send JSON, read JSON. */
export async function post(path, body = {}, { signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await request(apiUrl(path), { method: "POST", headers, body: JSON.stringify(body), signal })).json();
}

/** Fetch; anything but success becomes a `Problem`. */
export async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { "X-Request-Id": viewId, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the server does not answer", { hint: "start it with: nuwa serve" });
  }
  if (!response.ok) throw await problemFrom(response);
  return response;
}

async function problemFrom(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // Not JSON: the status has to do.
  }
  const message = body.detail || body.title || `the server answered ${response.status} ${response.statusText}`;
  const errors = Array.isArray(body.errors) ? body.errors : [];
  return new Problem(String(message), { hint: body.hint ?? "", status: response.status, errors });
}
