"""A base in a local folder of timm's hub format: its config, its weights, and whether one describes the other.

timm builds what ``config.json`` says and then makes the weights fit: positions and patches are resampled, a head or
stem of another size is dropped or converted, and a top-level ``global_pool`` is not read at all. What comes out is
another network than the one that was saved, without a word; it is refused here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from nuwa_search.core import checked
from nuwa_search.core.checkpoint_files import WEIGHT_FILES, find_weights, read_checkpoint
from nuwa_search.core.documents import MAX_LIST_BYTES, read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_timm import known_vit_names, require_vit_name
from nuwa_search.core.from_transformers import is_transformers_config, require_known_type
from nuwa_search.core.img_size import checked_img_size, is_pair, json_from_img_size
from nuwa_search.core.out_of_memory import is_memory_short, is_out_of_memory
from nuwa_search.core.suggest import unknown_name

CONFIG = "config.json"
HELD_OUT = "search_split.json"
MAX_SIZE = 2**20
"""Of any whole number in a config: the sizes of a net are far smaller."""
MAX_DEPTH = 200
"""Of a net: the deepest published ViTs have below 100 blocks, and each is built before the weights are looked at."""
_SURPLUS = 2
"""A described net may have this many times the numbers of its weights, where they bear other names than timm's."""
_NO_FILE = {"file": None, "url": None, "hf_hub_id": None}
_HOLDS = f"a base folder holds {CONFIG} and one of {', '.join(WEIGHT_FILES)}, as timm's save_for_hf writes them"
_DESCRIBE = f"{CONFIG} needs the architecture and model_args that the weights were saved with"


def read_hub_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a folder in timm's hub format.

    Raises:
        NuwaError: If the folder or file is missing, is not JSON, names no architecture, or holds a size beyond
            all nets.
    """
    path = folder / CONFIG
    if not folder.is_dir():
        raise NuwaError(f"no base at {folder}: there is no such folder, and so {CONFIG} is missing", hint=_HOLDS)
    if not path.exists():
        raise NuwaError(f"no base at {folder}: {CONFIG} is missing", hint=_HOLDS)
    config = read_object(path, what="config of a base", hint=_HOLDS)
    name = config.get("architecture")
    if name is None:
        raise NuwaError(f"{path} names no architecture", hint=_HOLDS)
    try:
        checked.text(name, "architecture", max_length=200)
        for part in ("model_args", "pretrained_cfg"):
            if config.get(part) is not None:
                _require_sizes(checked.mapping(config[part], part), part)
        if config.get("num_classes") is not None:
            checked.integer(config["num_classes"], "num_classes", low=0, high=MAX_SIZE)
    except NuwaError as error:
        raise NuwaError(f"{path} describes no base: {error.message}", hint=_HOLDS) from error
    return config


def facts_of_folder(folder: Path) -> dict[str, str | int | list[int] | None]:
    """Read ``architecture``, ``classes`` and ``img_size`` (pixels) of a base folder from its config alone.

    Raises:
        NuwaError: If it is none that can be a base by its config.
    """
    path = folder / CONFIG
    config = read_object(path, what="config of a base", hint=_HOLDS) if path.is_file() else {}
    if is_transformers_config(config):
        require_known_type(config, name=str(folder))
        labels, size = config.get("id2label"), config.get("image_size")
        return {
            "architecture": str(config["model_type"]),
            "classes": len(labels) if isinstance(labels, Mapping) else None,
            "img_size": _shown_size(size),
        }
    config = read_hub_config(folder)
    given = config.get("pretrained_cfg") or {}
    size = given.get("input_size")
    return {
        "architecture": config["architecture"],
        "classes": config.get("num_classes"),
        "img_size": _shown_size(size[-2:]) if is_pair(size) else None,
    }


def _shown_size(size: object) -> int | list[int] | None:
    """Return a size that a config gives; None where it is none."""
    try:
        return json_from_img_size(checked_img_size(size))
    except NuwaError:
        return None


def _require_sizes(values: Mapping[str, object], where: str) -> None:
    for name, value in values.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, int) and not isinstance(part, bool):
                high = MAX_DEPTH if name == "depth" else MAX_SIZE
                checked.integer(part, f"{where}: {name}", low=-MAX_SIZE, high=high)


def read_held_out(folder: Path) -> frozenset[str]:
    """Read the hashes of the images that were held out when a base was trained; empty where it does not tell.

    Raises:
        NuwaError: If the file is there and cannot be read.
    """
    path = folder / HELD_OUT
    if not path.exists():
        return frozenset()
    values = read_object(path, what="list of held-out images", max_bytes=MAX_LIST_BYTES)
    try:
        hashes = checked.items(values.get("hashes"), "hashes", max_items=MAX_LIST_BYTES)
        return frozenset(checked.text(value, "a hash", max_length=64) for value in hashes)
    except NuwaError as error:
        raise NuwaError(
            f"{path} cannot be read: {error.message}", hint=f"train the base again, or remove {path}"
        ) from error


def model_from_folder(folder: Path) -> nn.Module:
    """Build a folder's timm model with its weights, as ``timm.create_model("local-dir:…")`` does.

    Raises:
        NuwaError: If a part is missing or damaged, or the config describes another network than the weights are of.
    """
    config = read_hub_config(folder)
    name = config["architecture"]
    if not timm.is_model(name):
        raise unknown_name("architecture", name, known_vit_names())
    require_vit_name(name)
    path = find_weights(folder)
    tensors = read_checkpoint(path)
    with torch.device("meta"):  # sizes first: what the config says takes no memory until the weights agree
        empty = _created(folder, pretrained=False)
    require_described(empty, config, tensors, folder=folder, weights=path.name)
    # handed over, so that timm looks for no file: it knows no sharded weights
    model: nn.Module = _created(
        folder, pretrained=True, pretrained_cfg_overlay={"source": "", "state_dict": dict(tensors)} | _NO_FILE
    )
    cast(Any, model).pretrained_cfg["state_dict"] = None
    return model


def _created(folder: Path, **options: Any) -> Any:
    try:
        return timm.create_model(f"local-dir:{folder}", **options)
    except (
        *(RuntimeError, LookupError, TypeError, ValueError, AssertionError, AttributeError, ArithmeticError),
        MemoryError,
    ) as error:
        if is_out_of_memory(error) and is_memory_short():  # else it is sizes in the config that nothing holds
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NuwaError(
            f"base {folder} cannot be built from its {CONFIG} and weights: {first}", hint=_DESCRIBE
        ) from error


def require_described(
    model: nn.Module, config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, folder: Path, weights: str
) -> None:
    """Refuse a model that timm had to bend the weights for, or that differs from what the config says of it.

    Args:
        model: Built by timm from the config; its weights are not looked at.
        config: Content of ``config.json``.
        tensors: The weights as they were saved.
        folder: For messages.
        weights: Name of the weights' file.

    Raises:
        NuwaError: With the first difference.
    """
    built = model.state_dict()
    named = {name: tensors[name] for name in built if name in tensors}
    for name, value in built.items():
        saved = named.get(name)
        if saved is not None and saved.shape != value.shape:
            raise NuwaError(
                f"{folder / CONFIG} does not describe {weights}: it says {name} is {tuple(value.shape)}, and "
                f"{tuple(saved.shape)} was saved",
                hint=_hint_of(name),
            )
    if "blocks.0.attn.qkv.weight" in tensors:  # in timm's own names: nothing was renamed
        absent = [name for name in built if name not in named]
        if absent:
            raise NuwaError(
                f"{folder / CONFIG} does not describe {weights}: {absent[0]} is missing there and would be random",
                hint=_hint_of(absent[0]),
            )
    described, saved_count = (sum(t.numel() for t in group.values()) for group in (built, tensors))
    if described > _SURPLUS * saved_count:
        raise NuwaError(
            f"{folder / CONFIG} does not describe {weights}: it describes {described} numbers, and {saved_count} were "
            "saved",
            hint=_DESCRIBE,
        )
    pool, said = getattr(model, "global_pool", None), config.get("global_pool")
    if said is not None and pool is not None and said != pool:
        raise NuwaError(
            f'{folder / CONFIG} says "global_pool": {checked.shown(said)} beside the architecture, where timm does not '
            f"read it: what it builds pools by {pool!r}",
            hint=f'if {said!r} is right, write "model_args": {{"global_pool": "{said}"}}; else remove the line',
        )


def _hint_of(name: str) -> str:
    settings = {
        "pos_embed": "img_size and patch_size",
        "patch_embed.proj.weight": "patch_size, embed_dim and in_chans",
        "head.weight": "num_classes",
        "head.bias": "num_classes",
    }
    wanted = settings.get(name, "the architecture and model_args")
    return f"give {CONFIG} {wanted} of the saved weights"
