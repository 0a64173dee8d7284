"""The head for pixels fitted anew to a cut net's own patch tokens, before its other weights are trained."""

import torch
from torch import Tensor

from nuwa_search.core.counting import count
from nuwa_search.core.heads import with_head
from nuwa_search.core.known_outputs import net_key
from nuwa_search.core.tasks.patch_head import fit_patch_head
from nuwa_search.core.tasks.tune_head import TUNED_RARITIES
from nuwa_search.core.tensors import TaskTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.score import SplitScore, score_known


def with_refitted_head(student: PlainViT, data: TaskTensors) -> tuple[PlainViT, SplitScore]:
    """Fit the head as the base's was, and keep it where the search split is answered better with it.

    A head that was derived stands for the base's on other tokens; of a net cut to a third of the base a fitted
    one wins most of what the cut lost (docs/segmentation.md), in less time than twenty steps of training.

    Args:
        student: That answers for patches; it is not changed.
        data: Images with masks.

    Returns:
        The net with the better head, and what the student as it was given scored on the search split.
    """
    before = _score(student, data)
    key = ("refitted head", net_key(student), data.train.content_hash, data.search.content_hash)
    rows = data.known.get(key, lambda: _fitted(student, data))
    found = with_head(student, rows[:, :-1], rows[:, -1])
    return (found if _score(found, data).beats(before) else student), before


def _fitted(student: PlainViT, data: TaskTensors) -> Tensor:
    """Return weight and bias side by side: (C, F + 1)."""
    head = fit_patch_head(
        student,
        data,
        num_classes=student.arch.num_classes,
        rarities=TUNED_RARITIES,
        on_images=lambda done, total: count("refitting the head: images", done, total),
    ).head
    return torch.cat([head.weight.detach(), head.bias.detach()[:, None]], dim=1)


def _score(model: PlainViT, data: TaskTensors) -> SplitScore:
    return score_known(data.search_logits(model), data.search, metric=data.metric)
