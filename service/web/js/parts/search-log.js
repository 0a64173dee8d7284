/** What happened in a search so far, collected from its events; the order of arrival does not matter twice. */

/** Collects events of a search. */
export class SearchLog {
  constructor() {
    this.steps = [];
    this.count = null;
    this.stage = null;
    this.begun = new Map(); // by what is counted: where and when it was first told
    this.finetune = [];
    this.trials = new Map();
    this.scored = 0;
    this.wanted = null;
    this.last = "";
    this.seen = 0;
  }

  /**
   * Take one event.
   * @param {{id: string, kind: string, data: {number: number, at: string, data: object}}} event
   * @returns {boolean} Whether it was new.
   */
  take(event) {
    const number = Number(event.data?.number ?? event.id);
    if (Number.isFinite(number) && number > 0) {
      if (number <= this.seen) return false;
      this.seen = number;
      this.last = String(number);
    }
    const data = event.data?.data ?? {};
    const at = event.data?.at;
    if (event.kind === "step") this.steps.push({ at, text: data.text });
    if (event.kind === "state") this.steps.push({ at, text: data.reason ? `${data.state}: ${data.reason}` : data.state, isState: true });
    if (event.kind === "stage") this.#staged(data.stage, at);
    if (event.kind === "winner-measured") this.steps.push({ at, text: `winner measured: ${Number(data.measured_ms).toFixed(2)} ms, ${data.is_met ? "within the budget" : data.reason || "over the budget"}` });
    if (event.kind === "count") this.count = { ...data, leftS: this.#left(data.label, data.done, data.total, at) };
    if (event.kind === "finetune") this.#finetuned({ ...data, leftS: this.#left("finetune", data.step, data.steps, at) });
    if (event.kind === "trial") this.#tried(data, at);
    return true;
  }

  #staged(stage, at) {
    this.steps.push({ at, text: `${stage}: begins` });
    this.stage = stage;
    this.begun.clear();
    this.count = null;
  }

  /** Seconds left at the pace since this was first told; null where that is not known yet. */
  #left(label, done, total, at) {
    const now = Date.parse(at);
    const first = this.begun.get(label);
    if (!first || done < first.done) {
      this.begun.set(label, { done, now });
      return null;
    }
    return done > first.done && total > 0 ? ((now - first.now) / 1000 / (done - first.done)) * (total - done) : null;
  }

  #finetuned(data) {
    if (this.finetune.length && data.step < this.finetune.at(-1).step) this.finetune = []; // a second round began
    this.finetune.push(data);
    this.count = null;
  }

  #tried(data, at) {
    this.trials.set(data.number, data);
    this.scored = data.scored ?? this.scored;
    this.wanted = data.wanted ?? this.wanted;
    this.trialsLeftS = this.#left("trials", this.scored, this.wanted, at);
    this.count = null;
  }
}

/** Of all trials: the best scored one by KL, and how many were proposed and feasible. */
export function trialFigures(trials) {
  const scored = trials.filter((t) => t.state === "scored" && typeof t.kl === "number");
  return {
    best: scored.reduce((best, t) => (best && best.kl <= t.kl ? best : t), null),
    proposed: trials.length,
    feasible: trials.filter((t) => t.state !== "infeasible").length,
    scored: trials.filter((t) => t.state === "scored" || t.state === "pruned").length,
  };
}
