"""Cached stages of a derivation: per base and task the sensitivity, the moments and the neuron solvers.

Each stage's key hashes what it is computed from and nothing else, so another ridge or ranking reuses the
statistics, and another budget or device reuses everything.
"""

import hashlib
from collections.abc import Callable

from torch import Tensor

from nuwa.cache import Cache, content_key
from nuwa.images import Preprocess
from nuwa.tensors import SplitTensors
from nuwa.vit import PlainViT
from nuwa.weights import hash_tensors
from search.derive.neurons import NeuronSolver
from search.derive.sensitivity import Sensitivity
from search.derive.statistics import BranchMoments, Moments

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
    """Read the moments of ``key``, or build and keep them."""
    if cache is None:
        return build()

    def flat() -> dict[str, Tensor]:
        made = build()
        parts = {f"{i}.{name}": getattr(m, name) for i, m in made.branches.items() for name in MOMENT_FIELDS}
        return {**parts, "stream": made.stream}

    found = cache.get("moments", content_key(*key), flat)
    indices = sorted({int(name.split(".")[0]) for name in found if "." in name})
    branches = {i: BranchMoments(*(found[f"{i}.{name}"] for name in MOMENT_FIELDS)) for i in indices}
    return Moments(branches, found["stream"])


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
