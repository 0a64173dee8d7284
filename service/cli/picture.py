"""A small picture in text of what was kept of each block of the base."""

from nuwa_search.core.arch import Arch, BlockSpec

ATTN_CELLS = 8
MLP_CELLS = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, cells: int) -> str:
    """Draw ``share`` (0..1) of ``cells`` characters in eighths, the rest as dots."""
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[rest] if rest else "")
    return drawn + "·" * (cells - len(drawn))


def picture(arch: Arch, base: Arch) -> str:
    """Draw one line per block of the base: attention and MLP kept, as bars and in numbers.

    Args:
        arch: Positional arch: entry ``i`` speaks of the base's block ``i``.
        base: The base it was cut from.
    """
    lines = [f"block  {'attention':<{ATTN_CELLS + 14}}  MLP"]
    for place, (mine, theirs) in enumerate(zip(arch.blocks, base.blocks, strict=True)):
        attn, mlp = _attn_share(mine, theirs), mine.mlp_width / max(theirs.mlp_width, 1)
        text = f"{mine.num_heads}×{mine.qk_dim}/{mine.v_dim}" if mine.has_attn else "gone"
        width = str(mine.mlp_width) if mine.has_mlp else "gone"
        lines.append(f"{place:>5}  {bar(attn, ATTN_CELLS)} {text:<13}  {bar(mlp, MLP_CELLS)} {width}")
    if arch.embed_dim != base.embed_dim:
        lines.append(f"embedding  {bar(arch.embed_dim / base.embed_dim, ATTN_CELLS)} {arch.embed_dim}")
    lines.append("attention: heads × query-key width / value width; dots are what was cut")
    return "\n".join(lines)


def cut_summary(arch: Arch, base: Arch) -> str:
    """Write in one line what was cut, such as ``7 of 12 attention branches, MLP 48 % of the neurons``."""
    kept_attn = sum(b.has_attn for b in arch.blocks)
    kept_mlp = sum(b.has_mlp for b in arch.blocks)
    neurons = sum(b.mlp_width for b in arch.blocks) / max(1, sum(b.mlp_width for b in base.blocks))
    parts = [
        f"{kept_attn} of {sum(b.has_attn for b in base.blocks)} attention branches kept",
        f"{kept_mlp} of {sum(b.has_mlp for b in base.blocks)} MLPs with {100 * neurons:.0f} % of the neurons",
    ]
    if arch.embed_dim != base.embed_dim:
        parts.append(f"embedding {base.embed_dim} → {arch.embed_dim}")
    return ", ".join(parts)


def _attn_share(mine: BlockSpec, theirs: BlockSpec) -> float:
    whole = theirs.num_heads * (theirs.qk_dim + theirs.v_dim)
    return mine.num_heads * (mine.qk_dim + mine.v_dim) / whole if whole else 0.0
