"""A worker that plays a search instead of running it: same queue, same events, an answer at once."""

import time
from collections.abc import Callable
from typing import Any

from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store
from tests.support.page_store import BASE, VEHICLES
from tests.support.store_values import NANO

TRIALS = 6


def play_search(
    store: Store, *, answer: dict[str, Any], pause_s: float = 0.02, halfway: Callable[[], None] = lambda: None
) -> str:
    """Wait for a queued search, take it up, tell events as a worker does, and end it; returns its name.

    Args:
        store: The database.
        answer: What the search comes to.
        pause_s: Between two events.
        halfway: Called between the trials and the fine-tuning.
    """
    deadline = time.monotonic() + 20
    while (job := store.claim_job()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("nothing was queued")
        time.sleep(0.02)
    study = str(job.job.study)
    wanted = job.job.settings["request"]
    claim = store.start_search(
        study,
        SearchTerms(
            device_id=NANO.device_id,
            budget_ms=wanted["budget_ms"],
            seed=wanted["seed"],
            settings=wanted,
            base_id=BASE.base_id,
            task_id=VEHICLES.task_id,
        ),
    )

    def say(kind: str, **payload: object) -> None:
        store.add_event(study, kind, payload)
        time.sleep(pause_s)

    say("state", state="running", reason="")
    say("step", text="base: 11.9 ms emulated on jetson-nano")
    say("count", label="scoring single cuts", done=12, total=24)
    for number in range(TRIALS):
        ms = 4.0 + 0.1 * number
        say(
            "trial", number=number, arch_id="0" * 16, origin="seed", state="scored", predicted_latency_ms=ms,
            predicted_interval_ms=[ms - 0.02, ms + 0.02], kl=0.3 - 0.02 * number, kl_first=0.3,
            top1_search=0.7 + 0.01 * number, num_images=256, seconds=0.1, reason="", scored=number + 1, wanted=TRIALS,
        )  # fmt: skip
    halfway()
    for step in (0, 10, 20):
        say("finetune", step=step, steps=20, loss=1.0, top1_search=0.75 + 0.002 * step, seconds=0.5, event="")
    say("winner-measured", arch_id="0" * 16, measured_ms=4.4, is_met=True)
    told = answer | {"study": study, "budget_ms": wanted["budget_ms"]}
    store.finish_search(claim, "done", result=told)
    store.add_event(study, "state", {"state": "done", "reason": ""})
    store.finish_job(job, "done", result=told, is_told=True)
    return study
