"""Heads that were fitted to a task, kept between runs with the features they were fitted to."""

from collections.abc import Callable

import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base
from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.heads import pooled_by, with_head
from nuwa_search.core.many_tokens import cpu_has_bf16
from nuwa_search.core.pooling import POOLS, HeadPool
from nuwa_search.core.tensors import TaskTensors, features_key
from nuwa_search.core.vit import PlainViT

STAGE = "heads"
HEAD_VERSION = "2"
"""Of what is kept and how it is fitted; raise it when the same images give another head."""
HELD = {"weight", "bias", "pool", "features"}
SHOWN = "search_features"
"""Of the search split too, where the head was chosen on it; earlier versions did not keep them."""


def kept_head(
    base: Base,
    tensors: TaskTensors,
    *,
    num_classes: int,
    pool: HeadPool,
    cache: Cache | None,
    fit: Callable[[], PlainViT],
) -> PlainViT:
    """Read the head of this base and these images, or fit it: every image passes through the base for it.

    Args:
        base: That gets the head.
        tensors: Its features are put among what is known of them.
        num_classes: Outputs of the head.
        pool: What it may read.
        cache: None fits anew.
        fit: Fits it.
    """
    if cache is None:
        return fit()
    train, search = tensors.train, tensors.search
    asked = (tensors.metric, num_classes, pool, repr(tensors.preprocess), cpu_has_bf16())
    key = content_key(HEAD_VERSION, base.weights_id, train.content_hash, search.content_hash, *asked)
    found = cache.load(STAGE, key)
    if found is None or not found.keys() >= HELD:
        model = fit()
        features = tensors.known.find(features_key(model, train))
        shown = tensors.known.find(features_key(model, search))
        if features is not None and model.arch.global_pool in (*POOLS, base.arch.global_pool):
            head = {"weight": model.head.weight, "bias": model.head.bias, "pool": _place(model.arch, base)}
            cache.save(STAGE, key, head | {"features": features} | ({} if shown is None else {SHOWN: shown}))
        return model
    place = int(found["pool"])
    pooled = base.model if place < 0 else pooled_by(base.model, POOLS[place])
    model = with_head(pooled, found["weight"], found["bias"])
    tensors.known.put(features_key(model, train), found["features"])
    if SHOWN in found:
        tensors.known.put(features_key(model, search), found[SHOWN])
    return model


def _place(arch: Arch, base: Base) -> torch.Tensor:
    """Tell a pooling by its place among those that can be chosen; -1 is the base's own."""
    return torch.tensor([-1 if arch.global_pool == base.arch.global_pool else POOLS.index(arch.global_pool)])
