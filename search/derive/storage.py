"""Cached stages of a derivation: per base and task the sensitivity, the moments and the neuron solvers.

Each stage's key hashes what it is computed from and nothing else, so another ridge or ranking reuses the
statistics, and another budget or device reuses everything.
"""

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from nuwa_search.core.cache import Cache, content_key
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.search.derive.neurons import NeuronSolver
from nuwa_search.search.derive.sensitivity import Sensitivity
from nuwa_search.search.derive.statistics import BranchMoments, Moments

MOMENT_FIELDS = ("gram", "ahead", "output", "query", "key")
SOLVER_FIELDS = ("order", "factor", "half", "metric_root")


def model_key(model: PlainViT) -> str:
    """Identify a model by arch and weights."""
    return hash_tensors(model.state_dict()) + model.arch.arch_id


def images_key(split: SplitTensors, preprocess: Preprocess) -> str:
    """Identify images as a network sees them; labels do not matter to statistics."""
    digest = hashlib.sha256(repr((tuple(split.images.shape), preprocess)).encode())
    digest.update(split.images.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def stored_sensitivity(cache: Cache | None, key: tuple[str, ...], build: Callable[[], Sensitivity]) -> Sensitivity:
    """Read the sensitivity of ``key``, or build and keep it."""
    if cache is None:
        return build()
    found = cache.get("sensitivity", content_key(*key), lambda: vars(build()).copy())
    return Sensitivity(found["metric"], found["tokens"])


def stored_moments(cache: Cache | None, key: tuple[str, ...], build: Callable[[], Moments]) -> Moments:
    """Read the moments of ``key``, or build and keep them.

    The matrices of MLPs, by far the largest, are an entry of their own that is read when a solver is made of them:
    where solvers are cached too, they never come into memory.
    """
    if cache is None:
        return build()
    name = content_key(*key)
    found = cache.load("moments", name)
    if found is None:
        made = build()
        cache.save("moments-mlp", name, _second_of(made))
        cache.save("moments", name, _first_of(made))
        return made
    indices = sorted({int(part.split(".")[0]) for part in found if "." in part})
    branches = {i: BranchMoments(*(found[f"{i}.{field}"] for field in MOMENT_FIELDS)) for i in indices}

    def second() -> dict[int, tuple[Tensor, Tensor]]:
        parts = cache.get("moments-mlp", name, lambda: _second_of(build()))
        return {i: (parts[f"{i}.gram"], parts[f"{i}.ahead"]) for i in {int(part.split(".")[0]) for part in parts}}

    images, error = found["taken"].tolist() if "taken" in found else (0.0, 0.0)  # older entries did not say
    return Moments(branches, found["stream"], second, int(images), error)


def _first_of(moments: Moments) -> dict[str, Tensor]:
    parts = {f"{i}.{name}": getattr(m, name) for i, m in moments.branches.items() for name in MOMENT_FIELDS}
    for name in _second_of(moments):
        parts[name] = parts[name].new_empty([0] * parts[name].ndim)
    taken = torch.tensor([moments.num_images, moments.ranking_error], dtype=torch.float64)
    return {**parts, "stream": moments.stream, "taken": taken}


def _second_of(moments: Moments) -> dict[str, Tensor]:
    mlps = {i: m for i, m in moments.branches.items() if m.is_mlp}
    return {f"{i}.{name}": getattr(m, name) for i, m in mlps.items() for name in ("gram", "ahead")}


def stored_solvers(
    cache: Cache | None, key: tuple[str, ...], build: Callable[[], dict[int, NeuronSolver]]
) -> dict[int, NeuronSolver]:
    """Read the MLP solvers of ``key``, or build and keep them."""
    if cache is None:
        return build()

    def flat() -> dict[str, Tensor]:
        return {f"{i}.{name}": getattr(s, name) for i, s in build().items() for name in SOLVER_FIELDS}

    found = cache.get("neurons", content_key(*key), flat)
    indices = sorted({int(name.split(".")[0]) for name in found})
    return {i: NeuronSolver(*(found[f"{i}.{name}"] for name in SOLVER_FIELDS)) for i in indices}
