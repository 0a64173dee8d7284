"""What every training run is told: optimiser, schedule, augmentation, precision, seed."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from nuwa_search.core.accelerator_choice import Accelerator
from nuwa_search.core.errors import NuwaError

TrainPrecision = Literal["auto", "fp32", "bf16"]


def require_range(config: object, name: str, low: float, high: float) -> None:
    """Refuse a setting outside ``low``..``high``.

    Args:
        config: Object that holds the setting.
        name: Its attribute.
        low: Smallest value allowed.
        high: Largest value allowed; infinite for none.

    Raises:
        NuwaError: If it is outside, or not a number.
    """
    value = getattr(config, name)
    if not low <= value <= high:
        limit = f">= {low:g}" if math.isinf(high) else f"in {low:g}..{high:g}"
        raise NuwaError(f"{type(config).__name__} needs {name} {limit}, found {value}")


@dataclass(frozen=True)
class AugmentConfig:
    """How images are changed before the network sees them.

    Args:
        flip: Mirror half of the images.
        shift: Largest shift in both directions, as a fraction of the side; the border is reflected.
        jitter: Brightness, contrast and saturation are scaled by factors of 1 ± this.
        erase: Probability that a rectangle is blanked (Random Erasing, arXiv 1708.04896).
        rand_ops: RandAugment-like operations per image (arXiv 1909.13719); 0 for none.
        rand_magnitude: Their strength, 0..1.
    """

    flip: bool = True
    shift: float = 0.125
    jitter: float = 0.0
    erase: float = 0.0
    rand_ops: int = 0
    rand_magnitude: float = 0.3

    def __post_init__(self) -> None:
        for name in ("shift", "jitter", "rand_magnitude", "erase"):
            require_range(self, name, 0.0, 1.0)
        require_range(self, "rand_ops", 0, 8)


NO_AUGMENT = AugmentConfig(flip=False, shift=0.0)


@dataclass(frozen=True)
class Recipe:
    """One training run, whatever the loss.

    ``batch_size`` counts the images of one optimiser step: accumulation and several processes split
    it and change nothing but rounding.

    Args:
        steps: Optimiser steps.
        batch_size: Images per optimiser step, over all processes.
        lr: Peak learning rate of AdamW.
        lr_of_rms: Whether ``lr`` is a share of each tensor's root mean square, not a step of every weight alike.
        weight_decay: Decoupled; not applied to norms, biases, tokens and positions.
        warmup_steps: Linear warm-up before the cosine.
        layer_decay: Learning rate factor per block from the head downwards; 1 for none.
        clip_norm: Largest norm of the whole gradient.
        label_smoothing: Share of the target spread over all classes.
        mixup: Beta parameter of mixup (arXiv 1710.09412); 0 for none.
        cutmix: Beta parameter of CutMix (arXiv 1905.04899); 0 for none. With both, half of the images each.
        ema_decay: Of the moving average that is evaluated and kept; 0 for none.
        augment: Per-image augmentation.
        views: Passes over the data after which augmentations repeat; 0 never repeats. Stored teacher
            logits are shared within this many views.
        seed: Of order and augmentation.
        eval_every: Steps between evaluations on the search split, each also a checkpoint.
        accumulate: Parts a batch is computed in.
        precision: ``auto`` is bf16 where the hardware multiplies it, else fp32.
        accelerator: ``auto`` is CUDA where there is one.
        compile: Whether to use ``torch.compile``.
    """

    steps: int = 200
    batch_size: int = 64
    lr: float = 3e-4
    lr_of_rms: bool = False
    weight_decay: float = 0.05
    warmup_steps: int = 20
    layer_decay: float = 1.0
    clip_norm: float = 1.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    ema_decay: float = 0.99
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    views: int = 4
    seed: int = 0
    eval_every: int = 50
    accumulate: int = 1
    precision: TrainPrecision = "auto"
    accelerator: Accelerator = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_every", "accumulate"):
            require_range(self, name, 1, math.inf)
        for name in ("warmup_steps", "views", "weight_decay", "mixup", "cutmix"):
            require_range(self, name, 0, math.inf)
        for name in ("lr", "clip_norm"):
            require_range(self, name, 1e-12, math.inf)
        for name in ("label_smoothing", "ema_decay"):
            require_range(self, name, 0, 1 - 1e-9)
        require_range(self, "layer_decay", 1e-3, 1.0)
        for name, kind in (("precision", TrainPrecision), ("accelerator", Accelerator)):
            if getattr(self, name) not in get_args(kind):
                raise NuwaError(f"{name} must be one of {', '.join(get_args(kind))}, found {getattr(self, name)!r}")


def hash_recipe(recipe: Recipe) -> str:
    """Identify everything a resumed run must share with the run it continues (16 hex digits)."""
    text = json.dumps(dataclasses.asdict(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


R = TypeVar("R", bound=Recipe)


def of_length(recipe: R, steps: int) -> R:
    """Return the recipe for another number of steps: warm-up at most a fifth of it, at least one evaluation."""
    return dataclasses.replace(
        recipe,
        steps=steps,
        warmup_steps=min(recipe.warmup_steps, steps // 5),
        eval_every=max(1, min(recipe.eval_every, steps)),
    )
