"""Each block of a subnet beside the base's."""

from dataclasses import dataclass

from nuwa_search.core.arch import EMPTY_BLOCK, Arch


@dataclass(frozen=True, kw_only=True)
class BlockPart:
    """A block beside the base's; shares are of widths, 0 to 1."""

    index: int
    kept: bool
    num_heads: int
    qk_dim: int
    v_dim: int
    mlp_width: int
    base_num_heads: int
    base_qk_dim: int
    base_v_dim: int
    base_mlp_width: int
    attn_share: float
    mlp_share: float


def block_parts(arch: Arch, base: Arch) -> list[BlockPart]:
    """Put each block of a positional arch beside the base's."""
    parts = []
    for index, theirs in enumerate(base.blocks):
        mine = arch.blocks[index] if index < len(arch.blocks) else EMPTY_BLOCK
        whole = theirs.num_heads * (theirs.qk_dim + theirs.v_dim)
        parts.append(
            BlockPart(
                index=index,
                kept=not mine.is_empty,
                num_heads=mine.num_heads,
                qk_dim=mine.qk_dim,
                v_dim=mine.v_dim,
                mlp_width=mine.mlp_width,
                base_num_heads=theirs.num_heads,
                base_qk_dim=theirs.qk_dim,
                base_v_dim=theirs.v_dim,
                base_mlp_width=theirs.mlp_width,
                attn_share=mine.num_heads * (mine.qk_dim + mine.v_dim) / whole if whole else 0.0,
                mlp_share=mine.mlp_width / theirs.mlp_width if theirs.mlp_width else 0.0,
            )
        )
    return parts
