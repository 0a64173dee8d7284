"""Augmented views: the random choices of one pass over a split, drawn before any pixel is touched.

A view is a pure function of the recipe's seed and the view's number, image by image. That is what
makes stored teacher logits fit augmented images (TinyViT, arXiv 2207.10666, stores the seeds of its
augmentations for the same reason), lets any batch be rebuilt alone, and leaves no random state to save.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nuwa_search.core.img_size import ImgSize, num_pixels_of, sides_of
from nuwa_search.deploy.train.recipe import AugmentConfig, Recipe
from nuwa_search.deploy.train.seeds import generator_for

ERASE_AREA = (0.02, 1 / 3)
"""Smallest and largest share of the image that is blanked; arXiv 1708.04896 uses 0.02 to 0.4, timm 1/3."""
ERASE_LOG_ASPECT = math.log(1 / 0.3)
"""Aspect ratios 0.3 to 1/0.3, as in arXiv 1708.04896."""


@dataclass(frozen=True)
class View:
    """Random choices for N images of one size.

    Args:
        flip: (N,) bool.
        shift: (N, 2) int64, pixels down and right.
        colour: (N, 3) factors of brightness, contrast, saturation.
        erase: (N, 4) int64 box y0, y1, x0, x1; empty where nothing is blanked.
        ops: (N, rand_ops) int64 RandAugment operation.
        levels: (N, rand_ops) signed strength in -1..1.
        partner: (N,) int64 image that is mixed in.
        keep: (N,) weight of the image itself, 1 without mixing.
        paste: (N, 4) int64 box of the partner; empty for mixup.
        is_mixed: Whether any image is mixed; known here so that no batch has to look.
        is_jittered: Whether any colour is changed.
        is_moved: Whether any image may be mirrored or shifted.
        is_erased: Whether anything may be blanked.
    """

    flip: Tensor
    shift: Tensor
    colour: Tensor
    erase: Tensor
    ops: Tensor
    levels: Tensor
    partner: Tensor
    keep: Tensor
    paste: Tensor
    is_mixed: bool
    is_jittered: bool
    is_moved: bool
    is_erased: bool

    @property
    def is_plain(self) -> bool:
        """Whether every image stays as it is."""
        is_erased = self.is_erased and bool((self.erase[:, 1] > self.erase[:, 0]).any())
        is_moved = self.is_moved and bool(self.flip.any() or self.shift.any())
        return not (self.is_mixed or self.is_jittered or is_erased or is_moved or self.ops.shape[1] > 0)

    def take(self, indices: Tensor) -> "View":
        """Return the choices for some of the images."""
        picked = {name: value[indices] for name, value in self._tensors().items()}
        return self._with(picked)

    def to(self, device: torch.device) -> "View":
        """Move all choices to ``device``."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return self._with(moved)

    def at_size(self, new: ImgSize, *, old: ImgSize) -> "View":
        """Return the same choices for the same images at another size: what is in pixels is scaled and rounded."""
        if new == old:
            return self

        (high, wide), (was_high, was_wide) = sides_of(new), sides_of(old)

        def scaled(value: Tensor, *, of_height: int) -> Tensor:
            """Scale columns: as many of the height, and as many of the width."""
            wanted = value.new_tensor([high] * of_height + [wide] * of_height)
            had = value.new_tensor([was_high] * of_height + [was_wide] * of_height)
            return (value.double() * wanted / had).round().long()

        return replace(
            self,
            shift=scaled(self.shift, of_height=1),
            erase=scaled(self.erase, of_height=2),
            paste=scaled(self.paste, of_height=2),
        )

    def _with(self, tensors: dict[str, Tensor]) -> "View":
        return View(
            **tensors,
            is_mixed=self.is_mixed,
            is_jittered=self.is_jittered,
            is_moved=self.is_moved,
            is_erased=self.is_erased,
        )

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}


def draw_view(recipe: Recipe, view: int, *, num_images: int, img_size: ImgSize) -> View:
    """Draw the choices of view number ``view``.

    Args:
        recipe: Gives seed, augmentation, mixup and cutmix.
        view: Number of the view, from 0.
        num_images: N.
        img_size: In pixels.
    """
    rng = generator_for(recipe.seed, "view", view)
    config, n = recipe.augment, num_images
    partner, keep, paste = _draw_mixing(recipe, n, img_size, rng)
    return View(
        flip=(torch.rand(n, generator=rng) < 0.5) & config.flip,
        shift=_draw_shifts(config, n, img_size, rng),
        colour=1 + config.jitter * (2 * torch.rand(n, 3, generator=rng) - 1),
        erase=_draw_erasing(config, n, img_size, rng),
        ops=torch.randint(0, 2**31, (n, config.rand_ops), generator=rng),
        levels=config.rand_magnitude * (2 * torch.randint(0, 2, (n, config.rand_ops), generator=rng) - 1),
        partner=partner,
        keep=keep,
        paste=paste,
        is_mixed=recipe.mixup > 0 or recipe.cutmix > 0,
        is_jittered=config.jitter > 0,
        is_moved=config.flip or config.shift > 0,
        is_erased=config.erase > 0,
    )


def view_of_epoch(recipe: Recipe, epoch: int) -> int:
    """Return which view pass number ``epoch`` over the data uses."""
    return epoch % recipe.views if recipe.views else epoch


def _draw_shifts(config: AugmentConfig, n: int, size: ImgSize, rng: torch.Generator) -> Tensor:
    down, across = (round(config.shift * side) for side in sides_of(size))
    if down == across:  # one draw: views of squares are what they were before there were other images
        return torch.randint(-down, down + 1, (n, 2), generator=rng)
    return torch.cat([torch.randint(-reach, reach + 1, (n, 1), generator=rng) for reach in (down, across)], dim=1)


def _draw_erasing(config: AugmentConfig, n: int, size: ImgSize, rng: torch.Generator) -> Tensor:
    low, high = ERASE_AREA
    whole_height, whole_width = sides_of(size)
    area = (low + (high - low) * torch.rand(n, generator=rng)) * whole_height * whole_width
    aspect = torch.exp(ERASE_LOG_ASPECT * (2 * torch.rand(n, generator=rng) - 1))
    chosen = torch.rand(n, generator=rng) < config.erase
    height = torch.where(chosen, (area * aspect).sqrt().round().clamp(1, whole_height), 0)
    width = torch.where(chosen, (area / aspect).sqrt().round().clamp(1, whole_width), 0)
    top = (torch.rand(n, generator=rng) * (whole_height - height + 1)).floor()
    left = (torch.rand(n, generator=rng) * (whole_width - width + 1)).floor()
    return torch.stack([top, top + height, left, left + width], dim=1).long()


def _draw_mixing(recipe: Recipe, n: int, size: ImgSize, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    partner = torch.randperm(n, generator=rng)
    keep, paste = torch.ones(n), torch.zeros(n, 4, dtype=torch.int64)
    if not (recipe.mixup or recipe.cutmix):
        return partner, keep, paste
    use_cutmix = torch.rand(n, generator=rng) < (recipe.cutmix > 0) * (0.5 if recipe.mixup else 1.0)
    mixed = _draw_beta(recipe.mixup, n, rng)
    whole = torch.tensor(sides_of(size), dtype=torch.float32)
    sides = (1 - _draw_beta(recipe.cutmix, n, rng)).sqrt()[:, None] * whole
    centre = torch.rand(n, 2, generator=rng) * whole
    nothing = torch.zeros(2)
    low = (centre - sides / 2).round().clamp(nothing, whole).long()
    high = (centre + sides / 2).round().clamp(nothing, whole).long()
    box = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], dim=1)
    pasted = ((box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])).float() / num_pixels_of(size)
    keep = torch.where(use_cutmix, 1 - pasted, mixed)
    return partner, keep, torch.where(use_cutmix[:, None], box, paste)


def _draw_beta(alpha: float, n: int, rng: torch.Generator) -> Tensor:
    if alpha <= 0:
        return torch.ones(n)
    gamma = torch._standard_gamma(torch.full((2, n), alpha), generator=rng)
    return gamma[0] / (gamma[0] + gamma[1]).clamp_min(1e-12)
