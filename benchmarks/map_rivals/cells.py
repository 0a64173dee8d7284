"""A cell: one method and seed, its net cut and tuned, its pixels counted image by image; kept in a file of lines."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.map_rivals.methods import METHODS, SAME_FOR_ALL_SEEDS, Cut
from benchmarks.map_rivals.setting import Setting
from nuwa_search.core.arch import arch_from_dict, dict_from_arch
from nuwa_search.core.cost import count_params
from nuwa_search.core.tasks.pixel_scores import PixelScores
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.score import tally_pixels
from nuwa_search.search.job.tune import finetune_config


@dataclass(frozen=True)
class Cell:
    """One net of one method.

    Args:
        latency_ms: Emulated.
        untuned: Counts on the test split as it was cut.
        tuned: Counts there after tuning.
        cut_cpu_s: To choose and cut it; 0 where another seed's was taken.
        tune_cpu_s: For the head fitted anew and the steps.
    """

    method: str
    seed: int
    note: str
    num_scored: int
    steps: int
    latency_ms: float
    params: int
    untuned: PixelScores
    tuned: PixelScores
    cut_cpu_s: float
    tune_cpu_s: float

    def to_json(self) -> dict[str, Any]:
        """Render it; the truths of both counts are the same."""
        plain = {name: value for name, value in vars(self).items() if name not in ("untuned", "tuned")}
        counts = {
            name: {"hits": scores.hits.tolist(), "answers": scores.answers.tolist()}
            for name, scores in (("untuned", self.untuned), ("tuned", self.tuned))
        }
        return {**plain, **counts, "truths": self.tuned.truths.tolist()}


def cell_from_json(values: Mapping[str, Any]) -> Cell:
    """Read what ``to_json`` gave."""
    told = dict(values)
    truths = np.array(told.pop("truths"), np.int64)

    def scores(name: str) -> PixelScores:
        counts = told.pop(name)
        return PixelScores(np.array(counts["hits"], np.int64), truths, np.array(counts["answers"], np.int64))

    return Cell(untuned=scores("untuned"), tuned=scores("tuned"), **told)


def read_cells(path: Path) -> list[Cell]:
    """Read all cells; none where there is no file."""
    return [cell_from_json(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def append_cell(path: Path, cell: Cell) -> None:
    """Add one cell."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(cell.to_json(), separators=(",", ":")) + "\n")


def run_cell(setting: Setting, method: str, *, seed: int, steps: int, work: Path) -> Cell:
    """Cut, tune and count; what was cut, and where tuning stood, is kept in ``work``.

    Every net is tuned alike: a head fitted to its own tokens, then the same steps on the same images in the same order.
    """
    begun = time.process_time()
    cut = _kept_cut(setting, method, seed=seed, work=work)
    cut_s = time.process_time() - begun
    untuned = _counts(setting, cut.model)
    begun = time.process_time()
    config = finetune_config(
        steps=steps,
        epochs=None,
        num_train=len(setting.tensors.train),
        seed=seed,
        has_fitted_head=True,
        is_large=True,
        kind="segmentation",
    )
    tuned = finetune(
        cut.model,
        setting.tensors,
        teacher=setting.teacher,
        config=config,
        checkpoint_dir=work / f"{_slug(method)}-{seed}-{steps}",
        resume=True,
    ).student
    return Cell(
        method=method,
        seed=seed,
        note=cut.note,
        num_scored=cut.num_scored,
        steps=steps,
        latency_ms=setting.measure(cut.model.arch),
        params=count_params(cut.model.arch),
        untuned=untuned,
        tuned=_counts(setting, tuned),
        cut_cpu_s=round(cut_s, 1),
        tune_cpu_s=round(time.process_time() - begun, 1),
    )


def _counts(setting: Setting, model: PlainViT) -> PixelScores:
    return tally_pixels(model, setting.test, setting.base.preprocess)[0].scores()


def _slug(method: str) -> str:
    return method.replace(" ", "-").lower()


def _kept_cut(setting: Setting, method: str, *, seed: int, work: Path) -> Cut:
    whose = "all" if method in SAME_FOR_ALL_SEEDS else str(seed)
    path = work / f"{_slug(method)}-{whose}.safetensors"
    if not path.exists():
        made = METHODS[method](setting, seed)
        told = {"arch": dict_from_arch(made.model.arch), "note": made.note, "num_scored": made.num_scored}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file(made.model.state_dict(), part, metadata={"cut": json.dumps(told)})
        part.replace(path)
    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()["cut"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    model = PlainViT(arch_from_dict(told["arch"]))
    model.load_state_dict(tensors)
    return Cut(model.eval(), told["note"], told["num_scored"])
