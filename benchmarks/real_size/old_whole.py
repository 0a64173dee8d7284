"""A whole search of an old build on what ``prepare`` wrote: CPU seconds by stage as JSON, and its winner's tensors.

Run with that build's own modules: PYTHONPATH=OLD_CHECKOUT python old_whole.py PLACE --budget-ms 30 --seed 0. Its own
``run_search`` does everything, with its default options; only the opening of base and images is replaced. The images
are handed over as PNG files of the very pixels, so that its splits are those of now, and it decodes them itself.
Into PLACE go ``winner.pt`` and ``winner.json``: tensors and arch before and after fine-tuning.
"""

import argparse
import contextlib
import dataclasses
import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parent))  # last: that build's own modules come first
opened = import_module("old_base").opened
Base = import_module("nuwa.base").Base
ImageSet, pixels = (getattr(import_module("nuwa.images"), name) for name in ("ImageSet", "pixels"))
Task, TaskBase = import_module("nuwa.task").Task, import_module("service.workflow.sources").TaskBase
dict_from_arch, hash_tensors = import_module("nuwa.arch").dict_from_arch, import_module("nuwa.weights").hash_tensors
task_tensors = import_module("nuwa.tensors").task_tensors
open_store = import_module("nuwa.store.store").open_store
Inputs, Hooks = import_module("service.workflow.inputs").Inputs, import_module("service.workflow.hooks").Hooks
PhaseClock = import_module("service.workflow.clock").PhaseClock
SearchRequest = import_module("service.workflow.request").SearchRequest
find_device = import_module("service.workflow.devices").find_device
searching, finding = (import_module(f"service.workflow.{name}") for name in ("search", "find"))

STAGES = {"profile": "profile", "derive": "statistics", "search": "cuts", "finetune": "finetune", "deploy": "export"}
"""Of that build's clock, named as now; study, refining and the test images are told apart within them."""
BEAT_S = 10.0
"""Between two lines of progress: no one waits longer than 15 s for one."""


class Stages:
    """CPU and wall seconds by stage, and a line every few seconds."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self.doing = ""
        self._stage, self._since = "start", (time.process_time(), time.monotonic())
        self._begun, self._ended = self._since, threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def enter(self, stage: str) -> None:
        """Count what has passed towards the stage before."""
        now = time.process_time(), time.monotonic()
        for seconds, begun, ended in zip((self.cpu, self.wall), self._since, now, strict=True):
            seconds[self._stage] = seconds.get(self._stage, 0.0) + ended - begun
        self._stage, self._since, self.doing = stage, now, ""
        self.say()

    def end(self) -> None:
        """Count the last stage."""
        self.enter("end")
        self._ended.set()

    def say(self) -> None:
        """Tell where it is."""
        cpu_s, wall_s = time.process_time() - self._begun[0], time.monotonic() - self._begun[1]
        print(f"{wall_s:8.1f} s, {cpu_s:8.1f} s of CPU  {self._stage} {self.doing}", file=sys.stderr, flush=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self.say()


def main(place: Path, *, budget_ms: float, seed: int, changes: dict[str, int]) -> None:
    """Search, and write what was found."""
    torch.set_num_threads(1)
    found = opened(place)
    task, preprocess = handed_over(found, place / "images")
    model, has_fitted_head = found.model, found.about["head is fitted"]
    del found
    stages = Stages()
    request = SearchRequest(
        budget_ms=budget_ms, base=str(place), data=str(place), seed=seed, bundle_dir=str(place / "bundle"), **changes
    )

    def inputs(request: Any, store: Any) -> Any:
        identity = hash_tensors(model.state_dict()) + model.arch.arch_id[:4]
        base = Base(str(place), model, task.class_names, preprocess, identity)
        tensors = task_tensors(task, preprocess)
        return Inputs(base, task, tensors, TaskBase(model, has_fitted_head), find_device(request.device, store))

    store = open_store(f"sqlite:///{place / 'old.sqlite'}")
    with watched(stages) as shipped, mock.patch.object(searching, "open_inputs", inputs):
        hooks, cache_dir = hooks_of(stages), place / "old-cache"
        outcome = searching.run_search(
            request, store=store, study="cell", resume=False, cache_dir=cache_dir, hooks=hooks
        )
    stages.end()
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    store.close()
    if not shipped:
        raise SystemExit(f"nothing fits {budget_ms:g} ms: {outcome.error}")
    winner = {"derived": shipped[-1].derived, "shipped": shipped[-1].model}
    torch.save({name: net.state_dict() for name, net in winner.items()}, place / "winner.pt")
    (place / "winner.json").write_text(json.dumps({k: dict_from_arch(net.arch) for k, net in winner.items()}))
    answer = {name: value for name, value in outcome.answer.items() if name != "artifacts"}  # paths of this machine
    answer["base"] = {**answer["base"], "name": ""}
    answer["task"] = {**answer["task"], "data": ""}
    rounded = [{k: round(v, 1) for k, v in seconds.items()} for seconds in (stages.cpu, stages.wall)]
    told = {"cpu_seconds": rounded[0], "wall_seconds": rounded[1], "peak_memory_mb": round(memory_mb)}
    json.dump(told | {"answer": answer}, sys.stdout)


def handed_over(found: Any, folder: Path) -> tuple[Any, Any]:
    """Write the images as files that decode to the same pixels, as a task of that build; none of this is timed."""
    preprocess = dataclasses.replace(found.preprocess, crop_pct=1.0)  # they are cropped
    parts, names = {}, tuple(found.about["classes"])
    for name, split in found.splits.items():
        (folder / name).mkdir(parents=True)
        paths = [folder / name / f"{place:05d}.png" for place in range(len(split))]
        for path, image in zip(paths, split.images, strict=True):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, compress_level=1)
        parts[name] = ImageSet(paths, split.labels.numpy().astype(np.int64), names, "the images of now")
        if not np.array_equal(pixels(parts[name], preprocess), split.images.numpy()):
            raise SystemExit(f"the old build decodes other pixels of the {name} split")
        print(f"{len(paths)} images of the {name} split handed over", file=sys.stderr, flush=True)
    return Task("handed over", names, None, **parts, search_split_seen_by_base=None), preprocess


@contextlib.contextmanager
def watched(stages: Stages) -> Iterator[list[Any]]:
    """Mark the stages as they begin; gives a list that gets what is shipped."""
    shipped: list[Any] = []

    class Clock(PhaseClock):  # type: ignore[misc, valid-type]
        @contextlib.contextmanager
        def phase(self, name: str) -> Iterator[None]:
            stages.enter(STAGES[name])
            with super().phase(name):
                yield

    run_study, winner, test_accuracies = finding.run_study, finding.Finder._winner, searching.test_accuracies

    def study(*args: Any, **kwargs: Any) -> Any:
        stages.enter("study")
        return run_study(*args, **kwargs)

    def refined(*args: Any) -> Any:
        stages.enter("refine")
        return winner(*args)

    def accuracies(inputs: Any, found: Any) -> Any:
        stages.enter("verify")
        shipped.append(found)
        return test_accuracies(inputs, found)

    with (
        mock.patch.object(searching, "PhaseClock", Clock),
        mock.patch.object(finding, "run_study", study),
        mock.patch.object(finding.Finder, "_winner", refined),
        mock.patch.object(searching, "test_accuracies", accuracies),
    ):
        yield shipped


def hooks_of(stages: Stages) -> Any:
    """Let every callback say what is done; steps are lines of their own."""

    def step(text: str) -> None:
        print(f"            {text}", file=sys.stderr, flush=True)

    def count(label: str, done: int, total: int | None) -> None:
        stages.doing = f"{label} {done} of {total or '?'}"

    def trial(report: Any) -> None:
        stages.doing = f"trial {report.number}, {report.state}"

    def finetune(progress: Any) -> None:
        stages.doing = f"step {progress.step} of {progress.steps}"

    return Hooks(step, count, trial, finetune)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--budget-ms", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int)
    parser.add_argument("--finetune-steps", type=int)
    given = parser.parse_args()
    changed = {name: value for name in ("trials", "finetune_steps") if (value := getattr(given, name)) is not None}
    main(given.place, budget_ms=given.budget_ms, seed=given.seed, changes=changed)
