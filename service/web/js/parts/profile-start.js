/** Starts a profile of a device and follows it. */

import { apiUrl, get, pathOf, post } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { follow } from "../core/stream.js";
import { commandLine, problemNote } from "./notes.js";
import { meter } from "./search-progress.js";

/**
 * Build the button with room for what comes of it.
 * @param {{device: string, text: string, signal: AbortSignal, onDone: () => void}} about
 */
export function profileStart({ device, text, signal, onDone }) {
  const room = h("div", { class: "stack", role: "status" });
  const button = h("button", { type: "button", class: "button" }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const job = await post("/profiles", { device }, { signal });
      show(room, waiting());
      watch(job.job_id);
    } catch (problem) {
      if (signal.aborted) return;
      show(room, problemNote(problem));
      button.disabled = false;
    }
  });

  function watch(jobId) {
    follow(apiUrl(pathOf("profiles", jobId, "events")), {
      signal,
      onEvent(event) {
        const data = event.data?.data ?? {};
        if (event.kind === "count") show(room, meter(data.label, data.done, data.total));
      },
      onState: (state) => state === "ended" && finish(jobId),
    });
  }

  async function finish(jobId) {
    const job = await get(pathOf("profiles", jobId), {}, { signal }).catch((problem) => ({ problem }));
    if (signal.aborted) return;
    if (job.problem) {
      show(room, problemNote(job.problem));
      button.disabled = false;
    } else onDone();
  }

  return h("div", { class: "stack" }, h("p", null, button), room);
}

function waiting() {
  return [h("p", { class: "muted" }, "queued; a worker takes it up"), commandLine("nuwa worker", "where none is running")];
}
