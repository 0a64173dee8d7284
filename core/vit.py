"""The plain ViT built from an ``Arch``: what is searched, trained, exported and shipped."""

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_search.core.arch import Arch, BlockSpec, GlobalPool
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.core.rotary import places_of, turned, turns, waves_of


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def make_norm(arch: Arch) -> nn.Module:
    """Build one norm over the last axis of (..., C) as ``arch`` asks."""
    if arch.norm == "rmsnorm":
        return nn.RMSNorm(arch.embed_dim, eps=arch.norm_eps)
    return nn.LayerNorm(arch.embed_dim, eps=arch.norm_eps)


def make_act(arch: Arch) -> nn.Module:
    """Build the MLP activation as ``arch`` asks."""
    match arch.act:
        case "gelu":
            return nn.GELU()
        case "gelu_tanh":
            return nn.GELU(approximate="tanh")
        case "quick_gelu":
            return QuickGELU()
        case "relu":
            return nn.ReLU()


class Rotary(nn.Module):
    """Turn queries and keys by the places of their tokens, as ``nuwa_search.core.rotary`` says.

    Whole heads share the waves of the arch, which are no part of the state; heads that kept some of their pairs hold
    theirs (H, qk_dim / 2, 2) among the tensors.
    """

    waves: Tensor
    places: Tensor

    def __init__(self, arch: Arch, block: BlockSpec) -> None:
        super().__init__()
        self.num_prefix = arch.num_prefix_tokens
        self.is_whole = block.qk_dim == arch.rope_dim
        # on the CPU also where a module is built without memory: nothing is loaded into what is no state
        whole = waves_of(arch.rope_dim, arch.rope_temperature)
        kept = whole if self.is_whole else whole[: block.qk_dim // 2].repeat(block.num_heads, 1, 1)
        self.register_buffer("waves", kept, persistent=not self.is_whole)
        self.register_buffer("places", places_of(*arch.grid), persistent=False)

    def turns(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines ((H,) N, qk_dim) of all tokens, prefix tokens first; see ``turns``."""
        return turns(self.waves, self.places, num_prefix=self.num_prefix)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.turns()
        keys, front = turned(k, cos, sin), q.shape[2]
        if front < cos.shape[-2]:  # queries of the first tokens only
            cos, sin = cos[..., :front, :], sin[..., :front, :]
        return turned(q, cos, sin), keys


class Attention(nn.Module):
    """Multi-head attention whose query/key width may differ from its value width."""

    def __init__(self, arch: Arch, block: BlockSpec) -> None:
        super().__init__()
        self.num_heads = block.num_heads
        self.qk_dim = block.qk_dim
        self.v_dim = block.v_dim
        qkv = block.num_heads * (2 * block.qk_dim + block.v_dim)
        self.qkv = nn.Linear(arch.embed_dim, qkv, bias=arch.qkv_bias)
        self.proj = nn.Linear(block.num_heads * block.v_dim, arch.embed_dim)
        self.rotary = Rotary(arch, block) if arch.rope_dim else None

    def project_qkv(self, x: Tensor, num_read: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, N, C) to q, k of (B, H, N, qk_dim), turned if positions are rotary, and v of (B, H, N, v_dim).

        Args:
            x: The normalised stream.
            num_read: Tokens at the front that queries are wanted of; None for all.
        """
        widths = [self.num_heads * self.qk_dim, self.num_heads * self.qk_dim, self.num_heads * self.v_dim]
        if num_read is None:
            q, k, v = self.qkv(x).split(widths, dim=-1)
        else:
            q, k, v = self._project_apart(x, num_read, widths)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        if self.rotary is not None:
            q, k = self.rotary(q, k)
        return q, k, v

    def _project_apart(self, x: Tensor, num_read: int, widths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, N, C) to q (B, num_read, ...) and k, v (B, N, ...), heads side by side."""
        of_q, of_kv = self.qkv.weight.split([widths[0], widths[1] + widths[2]])
        biases: tuple[Tensor | None, ...] = (None, None)
        if self.qkv.bias is not None:
            biases = self.qkv.bias.split([widths[0], widths[1] + widths[2]])
        k, v = F.linear(x, of_kv, biases[1]).split(widths[1:], dim=-1)
        return F.linear(x[:, :num_read], of_q, biases[0]), k, v

    def forward(self, x: Tensor, num_read: int | None = None) -> Tensor:
        out = attend(*self.project_qkv(x, num_read))
        joined: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return joined


MAX_PLAIN_TOKENS = 257
"""Up to here plain matrix products beat torch's fused bf16 attention on a CPU with AVX-512 BF16 in training too:
forward and backward of 64 images, 6 heads of 32, took 21 ms against 53 ms at 65 tokens; a whole step of the default
search's winner on 32 images of 257 tokens 1.3 s against 2.2 s (torch 2.15). In FP32 the fused kernel was always
faster."""
SCORES_AT_ONCE = 2**21
"""Attention scores that are computed at once in bf16, those of one head at least: 4 MB. From 1.6 to 6 MB were as fast,
25 MB took up to twice as long (one look; no command of the project repeats it)."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mix v (B, H, N, v_dim) by the softmax of q kᵀ / sqrt(qk_dim), both of (B, H, N, qk_dim): (B, H, N, v_dim).

    torch has no fused kernel for two widths on a CPU and takes bf16 through FP32 there: plain products in bf16, a few
    images or heads at a time, took 0.4 to 0.5 of its time at 65 to 577 tokens (torch 2.15, AVX-512 BF16, one thread).
    Where gradients are wanted of many tokens its kernel for one width stays, which keeps no scores.
    """
    has_gradients = torch.is_grad_enabled()
    is_fused = has_gradients and k.shape[2] > MAX_PLAIN_TOKENS and q.shape[-1] == v.shape[-1]
    if q.dtype != torch.bfloat16 or q.device.type != "cpu" or is_fused:
        return F.scaled_dot_product_attention(q, k, v)
    if has_gradients:
        return _plainly_attended(q, k, v)
    mixed = v.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[-1]).transpose(1, 2)  # as it is read next
    scores = q.shape[2] * k.shape[2]
    heads = max(1, min(q.shape[1], SCORES_AT_ONCE // scores))
    images = max(1, SCORES_AT_ONCE // (heads * scores))
    for some in zip(*(whole.split(images) for whole in (mixed, q, k, v)), strict=True):
        for into, *part in zip(*(whole.split(heads, dim=1) for whole in some), strict=True):
            into.copy_(_plainly_attended(*part))
    return mixed


def _plainly_attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    mixed: Tensor = torch.softmax(scores, dim=-1).to(v.dtype) @ v
    return mixed


class Mlp(nn.Module):
    """fc1, activation, fc2 over the last axis of (B, N, C)."""

    def __init__(self, arch: Arch, block: BlockSpec) -> None:
        super().__init__()
        self.fc1 = nn.Linear(arch.embed_dim, block.mlp_width)
        self.act = make_act(arch)
        self.fc2 = nn.Linear(block.mlp_width, arch.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block; a branch of width 0 is not built at all."""

    def __init__(self, arch: Arch, block: BlockSpec) -> None:
        super().__init__()
        self.norm1 = make_norm(arch) if block.has_attn else None
        self.attn = Attention(arch, block) if block.has_attn else None
        self.norm2 = make_norm(arch) if block.has_mlp else None
        self.mlp = Mlp(arch, block) if block.has_mlp else None

    def forward(self, x: Tensor, num_read: int | None = None) -> Tensor:
        """Map the stream (B, N, C) to the one behind it: of all tokens, or of the first ``num_read``."""
        if self.attn is not None and self.norm1 is not None:
            mixed = self.attn(self.norm1(x), num_read)
            x = (x if num_read is None else x[:, :num_read]) + mixed
        if self.mlp is not None and self.norm2 is not None:
            x = x + self.mlp(self.norm2(x))
        return x


class PatchEmbed(nn.Module):
    """Cut (B, in_chans, H, W) into patches and project them to (B, num_patches, C)."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.proj = nn.Conv2d(arch.in_chans, arch.embed_dim, arch.patch_size, stride=arch.patch_size)
        self._num_patches = arch.num_patches

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.proj.weight.requires_grad and self._num_patches > FEW_TOKENS:
            return self._as_product(x)
        out: Tensor = self.proj(x)
        return out.flatten(2).transpose(1, 2)

    def _as_product(self, x: Tensor) -> Tensor:
        """Project by a matrix product: on the CPU a convolution's backward pass takes four times as long.

        8 images of 224 pixels in bf16, forward and backward: 18 ms of CPU instead of 52 (one thread,
        busy machine; no command of the project repeats it).
        """
        side = self.proj.kernel_size[0]
        patches = x.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class PlainViT(nn.Module):
    """A ViT with per-block shapes, runnable without timm and without its base.

    LayerScale, distillation heads and per-token quirks of the base are folded into plain tensors
    by ``nuwa.base``; parameter names follow timm where the parameter exists there.

    Args:
        arch: Its shape. Entries of blocks that are gone are left out: ``blocks`` holds
            ``arch.depth`` modules.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch.compact()
        self.patch_embed = PatchEmbed(arch)
        self.prefix_tokens = nn.Parameter(torch.zeros(1, arch.num_prefix_tokens, arch.embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, arch.num_patches, arch.embed_dim))
        self.norm_pre = make_norm(arch) if arch.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(self.arch, block) for block in self.arch.blocks)
        self.norm = make_norm(arch) if arch.final_norm == "before_pool" else nn.Identity()
        self.fc_norm = make_norm(arch) if arch.final_norm == "after_pool" else nn.Identity()
        self.head = nn.Linear(arch.head_in_features, arch.num_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Map images (B, in_chans, H, W) to the residual stream (B, N, C) before the first block."""
        x = self.patch_embed(x) + self.pos_embed
        x = torch.cat([self.prefix_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        out: Tensor = self.norm_pre(x)
        return out

    def pool(self, x: Tensor) -> Tensor:
        """Map the residual stream (B, N, C) to features (B, head_in_features), norms included.

        With pooling ``patches`` to those of every patch: (B, num_patches, C).
        """
        if self.arch.is_dense:
            patches: Tensor = self.fc_norm(self.norm(x[:, self.arch.num_prefix_tokens :]))
            return patches
        if self.arch.global_pool == "avg":
            x = self.norm(x)[:, self.arch.num_prefix_tokens :].mean(dim=1)
        elif self.arch.global_pool == "token_avg":
            x = self.norm(x)
            x = torch.stack([x[:, 0], x[:, self.arch.num_prefix_tokens :].mean(dim=1)], dim=1)
        elif self.arch.global_pool == "dist":
            x = self.norm(x[:, :2])
        else:
            x = self.norm(x[:, 0])
        x = self.fc_norm(x)
        return x.flatten(1)

    @property
    def num_classes(self) -> int:
        """Outputs of the head; 0 after ``reset_classifier(0)``."""
        return self.head.out_features if isinstance(self.head, nn.Linear) else 0

    @property
    def num_features(self) -> int:
        """Width C of the tokens that ``forward_features`` gives."""
        return self.arch.embed_dim

    @property
    def head_hidden_size(self) -> int:
        """Width of the features that the head reads: ``forward_head(x, pre_logits=True)``."""
        return self.arch.head_in_features

    def get_classifier(self) -> nn.Module:
        """Return the head, as timm's models do."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: GlobalPool | None = None) -> None:
        """Put a fresh head in place of the old one, as timm's models do.

        Args:
            num_classes: Outputs; 0 leaves none, and ``forward`` then gives the features. ``arch``, which knows no net
                without outputs, keeps its number then.
            global_pool: What the head reads; None for what it read.

        Raises:
            NuwaError: If the net has no such tokens.
        """
        arch = self.arch if global_pool is None else dataclasses.replace(self.arch, global_pool=global_pool)
        self.arch = arch if num_classes == 0 else dataclasses.replace(arch, num_classes=num_classes)
        old = next(self.parameters())
        head = nn.Linear(arch.head_in_features, num_classes) if num_classes else nn.Identity()
        self.head = cast("nn.Linear", head.to(old.device, old.dtype))  # read as the Linear it is but after 0

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map what ``forward_features`` gave (B, N, C) to logits, or with ``pre_logits`` to what the head reads."""
        features = self.pool(x)
        if pre_logits:
            return features
        return self.answer(features)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images (B, in_chans, H, W) to the residual stream (B, N, C) after the last block.

        Unlike timm's, the last norm is left to ``forward_head``, which applies it to the tokens that are read only.
        """
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x

    def forward_block(self, index: int, x: Tensor) -> Tensor:
        """Run one block; from the last attention on (``Arch.trim_at``) for the tokens alone that pooling reads."""
        trim_at, num_read = self.arch.trim_at, self.arch.pooled_tokens[1]
        if trim_at is not None and index == trim_at:
            out: Tensor = self.blocks[index](x, num_read)
        else:
            out = self.blocks[index](x)
        return out

    def forward_trimmed(self, x: Tensor) -> Tensor:
        """Map images (B, in_chans, H, W) to as much of the stream behind the last block as ``pool`` reads.

        Where that is the class token, the last block computes keys and values only of the others, as trimmed exports
        do; ``forward`` runs every layer on every token, for whoever counts or watches them.
        """
        x = self.embed(x)
        if self.arch.trim_at is None and self.arch.pooled_tokens[1] < self.arch.num_tokens:
            x = x[:, : self.arch.pooled_tokens[1]]  # no block attends
        for index in range(len(self.blocks)):
            x = self.forward_block(index, x)
        return x

    def answer(self, features: Tensor) -> Tensor:
        """Map what ``pool`` gave to logits (B, num_classes), or, of every patch, (B, num_classes, *grid)."""
        logits: Tensor = self.head(features)
        if not self.arch.is_dense:
            return logits
        return logits.transpose(1, 2).contiguous().view(len(logits), -1, *self.arch.grid)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, in_chans, H, W) to logits (B, num_classes), or (B, num_classes, *grid) of patches."""
        return self.forward_head(self.forward_features(x))
