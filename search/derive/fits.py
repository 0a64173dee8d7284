"""What an arch must be to be cut out of a base."""

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.derive.rotation import is_rotated, require_rotation


def require_fits(arch: Arch, base: Arch) -> None:
    """Check that ``arch`` can be cut out of ``base``.

    Raises:
        NuwaError: If it cannot; the message names what exceeds what.
    """
    if len(arch.blocks) != len(base.blocks):
        raise NuwaError(
            f"the arch has {len(arch.blocks)} block entries, the base {len(base.blocks)}",
            hint="place_blocks says which blocks of the base a shorter arch takes",
        )
    for i, (mine, theirs) in enumerate(zip(arch.blocks, base.blocks, strict=True)):
        for name in ("num_heads", "qk_dim", "v_dim", "mlp_width"):
            if getattr(mine, name) > getattr(theirs, name):
                raise NuwaError(
                    f"block {i} of the arch has {name} {getattr(mine, name)}, the base only {getattr(theirs, name)}"
                )
    if arch.embed_dim > base.embed_dim:
        raise NuwaError(f"the arch has embed_dim {arch.embed_dim}, the base only {base.embed_dim}")
    same = ["num_classes", "img_size", "patch_size", "in_chans", "num_prefix_tokens", "global_pool"]
    same += ["pre_norm", "final_norm", "act", "rope_dim", "rope_temperature"]
    if is_rotated(arch, base):
        require_rotation(arch, base)
    else:
        same += ["qkv_bias", "norm_eps"]
    for name in same:
        if getattr(arch, name) != getattr(base, name):
            raise NuwaError(f"the arch has {name} {getattr(arch, name)!r}, the base {getattr(base, name)!r}")
