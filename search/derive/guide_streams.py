"""The base's residual stream between its branches: what subnets that are refined are aimed at."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nuwa_search.core.accelerator import device_of
from nuwa_search.core.arch import Arch
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.forward import Branch, branches_of
from nuwa_search.search.derive.statistics import SAMPLING_SEED, STATISTICS_TOKENS
from nuwa_search.search.derive.token_sample import TokenSample, sample_tokens
from nuwa_search.search.precision import scoring_context, statistics_context


class GuideStreams:
    """Streams of one base on some images, of the tokens that solves see, chunk by chunk.

    Args:
        base: With the task's head.
        split: Images of the task.
        preprocess: Preprocessing of the base.
        tokens: Patch tokens per image that are seen, drawn anew for each; 0 takes all.
        bf16: Whether the base may run in bf16 (``statistics_context``); one of many tokens does anyway.
        is_kept: Whether the streams before all branches are computed now and held, (B, n, C) float32 each, for several
            subnets: threads may then share them. Otherwise they are computed as they are asked for, from the first
            branch to the last. 96 images, 32 patches each, of a ViT-S take 120 MB, of a ViT-B 240 MB.
    """

    def __init__(
        self,
        base: PlainViT,
        split: SplitTensors,
        preprocess: Preprocess,
        *,
        tokens: int,
        bf16: bool,
        is_kept: bool = False,
    ) -> None:
        self.base, self.split, self._preprocess, self._bf16 = base, split, preprocess, bf16
        self._device = device_of(base)
        self._parts = torch.split(split.images, max(1, STATISTICS_TOKENS // base.arch.num_tokens))
        self.samples = _samples(self._parts, base.arch, tokens=tokens, device=self._device)
        self._branches = list(branches_of(base))
        self._seen: dict[int, list[Tensor]] = {}
        self._logits: list[Tensor] = []
        self._is_kept = is_kept
        self._streams, self._num_run = list[Tensor](), 0
        if is_kept:
            self._advance(len(self._branches))
            self._streams = []

    def inputs(self) -> Iterator[Tensor]:
        """Normalise the images, a chunk at a time: (B, in_chans, H, W)."""
        for part in self._parts:
            yield normalise(part.to(self._device), self._preprocess)

    def before(self, index: int) -> list[Tensor]:
        """Return the stream before branch ``index`` at the tokens that are seen: (B, n, C) of each chunk.

        Args:
            index: 2·block for attention, 2·block + 1 for the MLP; twice the number of blocks for the end.

        Raises:
            ValueError: If it is over and was not kept.
        """
        place = sum(branch.index < index for branch in self._branches)
        if place < self._num_run and not self._is_kept:
            raise ValueError(f"the stream before branch {index} was not kept")
        if place not in self._seen:
            self._advance(place)
        return self._seen[place]

    def logits(self) -> list[Tensor]:
        """Return what the base answers: (B, num_classes), or (B, num_patches, num_classes), of each chunk."""
        if not self._logits:
            self._advance(len(self._branches))
        return self._logits

    @torch.no_grad()
    def _advance(self, place: int) -> None:
        """Run branches until ``place`` of them have run.

        Where an image has many tokens that takes most of the time, and is done in the arithmetic of scores in any case.
        """
        if not self._streams:
            self._streams = [self.base.embed(x) for x in self.inputs()]
            self._look()
        is_large = self.base.arch.num_tokens > FEW_TOKENS
        while self._num_run < place:
            step = self._branches[self._num_run]
            context = scoring_context(self._device) if is_large else statistics_context(self._device, bf16=self._bf16)
            with context:
                self._streams = [_behind(step, x) for x in self._streams]
            self._num_run += 1
            self._look()
        if place == len(self._branches):
            self._logits = [self.base.head(self.base.pool(x)) for x in self._streams]

    def _look(self) -> None:
        """Note what is seen of the streams as they are now."""
        if not self._is_kept:
            self._seen.clear()
        self._seen[self._num_run] = [sample.pick(x) for sample, x in zip(self.samples, self._streams, strict=True)]


def _behind(branch: Branch, x: Tensor) -> Tensor:
    behind: Tensor = x + branch.writer(branch.regressors(x)).float()
    return behind


def _samples(parts: tuple[Tensor, ...], arch: Arch, *, tokens: int, device: torch.device) -> list[TokenSample]:
    """Draw tokens for each chunk of images; the same for all branches, which read the same streams."""
    generator = torch.Generator().manual_seed(SAMPLING_SEED)
    return [
        sample_tokens(
            len(part),
            num_prefix=arch.num_prefix_tokens,
            num_patches=arch.num_patches,
            count=tokens,
            generator=generator,
            device=device,
        )
        for part in parts
    ]
