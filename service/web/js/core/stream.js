/**
 * Follows server-sent events with fetch, which (unlike EventSource) tells a refusal from a broken line: whenever
 * the line breaks, also when the server is started anew, it is opened again behind the last event that arrived.
 */

import { Problem, request } from "./api.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;

/**
 * Follow a stream until it ends (an `end` event, or 204), `signal` aborts, or it is refused for good.
 * @param {string} url
 * @param {{after?: string, onEvent: (event: {id: string, kind: string, data: any}) => void,
 *   onState: (state: "live" | "waiting" | "lost" | "ended", problem?: Problem) => void, signal: AbortSignal}} handlers
 *   `after`: id of the last event that is known; `waiting`: broken, opened again soon; `lost`: refused.
 */
export async function follow(url, { after = "", onEvent, onState, signal }) {
  let last = after;
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const response = await request(url, { headers, signal });
      if (response.status === 204) return onState("ended");
      onState("live");
      for await (const event of eventsOf(response.body)) {
        wait = FIRST_WAIT_MS;
        if (event.id) last = event.id;
        onEvent(event);
        if (event.kind === "end") return onState("ended");
      }
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) {
        return onState("lost", error);
      }
    }
    onState("waiting");
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
  return undefined;
}

/** Yield `{id, kind, data}` from the bytes of an event stream; comments and events without data are left out. */
export async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text = (text + value).replaceAll("\r\n", "\n");
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const event = eventFrom(text.slice(0, end));
        text = text.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventFrom(block) {
  const event = { id: "", kind: "message", data: null };
  const data = [];
  for (const line of block.split("\n")) {
    const cut = line.indexOf(":");
    const name = cut < 0 ? line : line.slice(0, cut);
    const value = cut < 0 ? "" : line.slice(cut + 1).replace(/^ /, "");
    if (name === "id") event.id = value;
    if (name === "event") event.kind = value;
    if (name === "data") data.push(value);
  }
  if (!data.length) return null;
  try {
    event.data = JSON.parse(data.join("\n"));
  } catch {
    return null;
  }
  return event;
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
