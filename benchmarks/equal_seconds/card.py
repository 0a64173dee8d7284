"""The surrogates' card: nets predicted from changed logits, and by the Gaussian process, against really scored ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.equal_seconds.methods import sampled
from benchmarks.equal_seconds.setting import Setting
from nuwa_search.core.arch import Arch
from nuwa_search.predictors.accuracy import ChangeModel, KLPredictor, prior_from_library, singles_from_library
from nuwa_search.search.derive.defaults import is_small
from nuwa_search.search.library import Library
from nuwa_search.search.precision import scoring_context


@dataclass(frozen=True)
class CardSize:
    """How many nets a card is made of.

    Args:
        held_out: Nets that no surrogate has seen.
        seen: Whole nets that each has seen, a row each, ascending.
    """

    held_out: int
    seen: tuple[int, ...]

    @property
    def total(self) -> int:
        """Nets in all."""
        return self.held_out + max(self.seen)


SMALL = CardSize(held_out=20, seen=(0, 5, 10, 20, 40))
LARGE = CardSize(held_out=12, seen=(0, 5, 10, 20))
"""Of images of many tokens, where a net takes two to three seconds to cut and run."""


def card_size(base: Arch) -> CardSize:
    """Choose how many nets the card of a base is made of."""
    return SMALL if is_small(base) else LARGE


def drawn_nets(archs: Sequence[Arch], *, seed: int, size: CardSize) -> list[Arch]:
    """Draw the nets of a card: those to be held out first, then those to be seen; fewer where there are fewer."""
    order = np.random.default_rng(seed).permutation(len(archs))
    return [archs[k] for k in order[: size.total]]


def nets_of_random_search(setting: Setting, *, size: CardSize) -> list[Arch]:
    """Score random nets that fit on all images, none given up, until there are enough for a card."""
    found: list[Arch] = []
    sampled(
        "random",
        setting,
        should_stop=lambda: len(found) >= size.total,
        on_trial=lambda trial: found.append(trial.arch) if trial.state == "scored" else None,
        prune=False,
    )
    return drawn_nets(found, seed=setting.seed, size=size)


def surrogate_rows(
    setting: Setting, library: Library, archs: Sequence[Arch], *, size: CardSize
) -> list[dict[str, Any]]:
    """Judge both on the same held-out nets, by number of nets seen.

    Args:
        setting: The job.
        library: Its single cuts, with changed logits.
        archs: Nets that fit, of a search without guidance, as ``drawn_nets`` orders them.
        size: How many of them are held out, and seen.
    """
    held, seen = archs[: size.held_out], archs[size.held_out :]
    changes = [row.change.numpy() for row in library.rows if row.change is not None]
    count = len(changes[0])
    inputs = setting.scorer.inputs[:count]
    targets = setting.scorer.rows(setting.scorer.log_targets[:count]).numpy()
    model = ChangeModel(
        singles_from_library(setting.space.base, library.archs, changes),
        targets,
        setting.scorer.row_weights(count).numpy(),
    )
    logits = {arch: _run(setting, arch, inputs) for arch in (*held, *seen)}
    true = {arch: float(model.kl_of(found)) for arch, found in logits.items()}
    prior = prior_from_library(setting.space.base, library.archs, library.kls)
    rows = []
    for fitted in (number for number in size.seen if number <= len(seen)):
        for arch in seen[len(model.anchors) - 1 : fitted]:
            model.add(arch, logits[arch], {})
        process = KLPredictor(prior)
        if fitted:
            process.fit(seen[:fitted], [true[arch] for arch in seen[:fitted]])
        said = {
            "changed logits": np.log(model.kl(held)),
            "gaussian process": process.predict_log(held)[0],
        }
        real = np.log([true[arch] for arch in held])
        rows += [
            {
                "surrogate": name,
                "nets_seen": fitted,
                "held_out": len(held),
                "images": count,
                "kendall_tau": round(float(stats.kendalltau(found, real).statistic), 3),
                "median_log_error": round(float(np.median(np.abs(found - real))), 3),
                "median_kl_held_out": round(float(np.median(np.exp(real))), 3),
            }
            for name, found in said.items()
        ]
    return rows


def _run(setting: Setting, arch: Arch, inputs: torch.Tensor) -> "np.ndarray[Any, np.dtype[np.float32]]":
    model = setting.deriver.derive(arch)
    with torch.inference_mode(), scoring_context():
        return np.asarray(model(inputs).float().numpy())
