/** Has a bundle of a subnet made by a worker, and follows it. */

import { apiUrl, get, pathOf, post } from "../core/api.js";
import { announce } from "../core/announce.js";
import { h, show } from "../core/dom.js";
import { milliseconds } from "../core/figures.js";
import { follow } from "../core/stream.js";
import { commandLine, problemNote } from "./notes.js";
import { meter } from "./search-progress.js";

/**
 * Build the button with room for what comes of it; a job that is there already is followed at once.
 * @param {{subnetId: string, job?: object | null, device?: string | null, budgetMs?: number | null,
 *   signal: AbortSignal, onDone: () => void}} about `budgetMs`: what the certificate is to be about; null for none.
 */
export function bundleMake({ subnetId, job = null, device = null, budgetMs = null, signal, onDone }) {
  const room = h("div", { class: "stack", role: "status" });
  const label = budgetMs ? `make a bundle, certified for ${milliseconds(budgetMs)}` : "make a bundle";
  const button = h("button", { type: "button", class: "button button-main" }, label);
  let [text, counted] = ["", null];

  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      watch(await post(pathOf("subnets", subnetId, "bundle"), { device, budget_ms: budgetMs }, { signal }));
    } catch (problem) {
      if (!signal.aborted) fail(problem);
    }
  });

  function watch(found) {
    button.disabled = true;
    if (found.state === "queued") show(room, waiting());
    follow(apiUrl(pathOf("bundle-jobs", found.job_id, "events")), {
      signal,
      onEvent(event) {
        const data = event.data?.data ?? {};
        if (event.kind === "step") [text, counted] = [data.text, null];
        if (event.kind === "count") counted = data;
        if (text || counted) show(room, h("p", { class: "muted" }, text), counted && meter(counted.label, counted.done, counted.total));
      },
      onState: (state) => state === "ended" && finish(found.job_id),
    });
  }

  async function finish(jobId) {
    const found = await get(pathOf("bundle-jobs", jobId), {}, { signal }).catch((problem) => ({ problem }));
    if (signal.aborted) return;
    if (found.state === "done") {
      announce("the bundle is made");
      onDone();
    } else fail(found.problem ?? { message: `making the bundle is ${found.state}` });
  }

  function fail(problem) {
    show(room, problemNote(problem));
    button.disabled = false;
  }

  if (job && ["queued", "running"].includes(job.state)) watch(job);
  else if (job?.problem) fail(job.problem);
  return h(
    "div",
    { class: "stack" },
    h("p", null, button),
    h("p", { class: "small muted" }, `It is cut again as it was scored, exported${device ? ` for ${device}` : ""}, checked and measured: not fine-tuned, and ${budgetMs ? "certified for that budget alone" : "not certified for a budget"}.`),
    room,
  );
}

function waiting() {
  return [h("p", { class: "muted" }, "queued; a worker takes it up"), commandLine("nuwa worker", "where none is running")];
}
