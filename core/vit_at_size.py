"""A plain ViT for another image size."""

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_roles import with_positions
from nuwa_search.core.positions import resampled_positions
from nuwa_search.core.vit import PlainViT


def vit_at_size(model: PlainViT, img_size: int, *, name: str) -> PlainViT:
    """Copy a ViT to images of ``img_size`` pixels a side, its positions resampled as timm does.

    Args:
        model: Of any size; it is returned itself where the size is its own.
        img_size: A multiple of its patch.
        name: What to call it in messages.

    Raises:
        NuwaError: If the size is no multiple of the patch.
    """
    patch = model.arch.patch_size
    if img_size < patch or img_size % patch:
        raise NuwaError(
            f"{name}: images of {img_size} pixels cannot be cut into patches of {patch}",
            hint=f"give --img-size a multiple of {patch}, such as {max(patch, round(img_size / patch) * patch)}",
        )
    if img_size == model.arch.img_size:
        return model
    grid = resampled_positions(model.state_dict()["pos_embed"], (img_size // patch) ** 2)
    return with_positions(model, grid, img_size=img_size)
