"""Settings of training a base, and where it starts from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nuwa_search.deploy.train.recipe import AugmentConfig, Recipe, require_range

ModelArgs = Mapping[str, int | float | bool | str | list[int]]


@dataclass(frozen=True)
class BaseDesign:
    """Which ViT to train.

    Args:
        timm_name: A timm ``VisionTransformer``.
        pretrained: Whether to start from timm's weights.
        model_args: What differs from timm's defaults, in timm's names: ``img_size``, ``patch_size``,
            ``embed_dim``, ``depth``, ``num_heads``, ``global_pool`` and so on.
    """

    timm_name: str = "vit_tiny_patch16_224"
    pretrained: bool = False
    model_args: ModelArgs = field(default_factory=dict)


@dataclass(frozen=True)
class BaseTrainConfig(Recipe):
    """A recipe for training a base; defaults follow DeiT (arXiv 2012.12877), for smaller data sets.

    Args:
        drop_path: Stochastic depth of the last block, falling to 0 at the first (arXiv 1603.09382).
        held_out: Share of each class kept out of training as search split.
        minutes: Wall time to fit the run into: a few timed steps shorten ``steps`` to what fits, so that
            the learning rate still falls to its end. None trains all steps.
    """

    steps: int = 6000
    batch_size: int = 256
    lr: float = 1e-3
    warmup_steps: int = 300
    mixup: float = 0.8
    cutmix: float = 1.0
    ema_decay: float = 0.9995
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(rand_ops=2, rand_magnitude=0.4, jitter=0.2, erase=0.25)
    )
    views: int = 0
    eval_every: int = 500
    drop_path: float = 0.05
    held_out: float = 0.1
    minutes: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "drop_path", 0.0, 0.9)
        require_range(self, "held_out", 1e-6, 0.5)
        if self.minutes is not None:
            require_range(self, "minutes", 1e-3, math.inf)
