"""A plain ViT for another image size."""

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_roles import with_positions
from nuwa_search.core.img_size import ImgSize, grid_of, is_cut_by, nearest_cut, size_words
from nuwa_search.core.positions import resampled_positions
from nuwa_search.core.vit import PlainViT


def vit_at_size(model: PlainViT, img_size: ImgSize, *, name: str) -> PlainViT:
    """Copy a ViT to images of ``img_size`` pixels, its positions resampled as timm does.

    Args:
        model: Of any size; it is returned itself where the size is its own.
        img_size: Multiples of its patch.
        name: What to call it in messages.

    Raises:
        NuwaError: If the size is no multiple of the patch.
    """
    patch = model.arch.patch_size
    if not is_cut_by(img_size, patch):
        raise NuwaError(
            f"{name}: images of {size_words(img_size)} pixels cannot be cut into patches of {patch}",
            hint=f"give --img-size a multiple of {patch}, such as {size_words(nearest_cut(img_size, patch))}",
        )
    if img_size == model.arch.img_size:
        return model
    stored, new = model.state_dict()["pos_embed"], grid_of(img_size, patch)
    return with_positions(model, resampled_positions(stored, old=model.arch.grid, new=new), img_size=img_size)
