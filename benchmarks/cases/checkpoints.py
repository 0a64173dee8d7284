"""Base folders: files that timm and Hugging Face write, and configs that do not describe their weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from benchmarks.cases.base_files import SMALL
from benchmarks.cases.frame import case, part

SAVED = "the net that was saved"


def small() -> Any:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL).eval()


def write(folder: Path, *, safe: bool = True, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Any:
    """Write a base as timm does, then change its config; returns the model that was saved."""
    model = small()
    save_for_hf(model, folder, model_args=dict(SMALL), safe_serialization=safe)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return model


def compared(folder: Path, model: Any) -> str:
    """Load the base and hold its outputs against those of the model that was saved."""
    base = part("core.base").load_base(str(folder))
    images = torch.randn(2, 3, base.arch.img_size, base.arch.img_size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        mine = base.model(images)
        if base.arch.img_size != SMALL["img_size"]:
            return f"another net, for {base.arch.img_size} pixels"
        wanted = model(images)
    error = float((mine - wanted).norm() / wanted.norm())
    return SAVED if error < 1e-4 else f"another net, outputs {error:.2f} off"


@case("checkpoints: pytorch_model.bin, which save_for_hf writes by default", right=SAVED)
def pickled(folder: Path) -> str:
    return compared(folder, write(folder, safe=False))


def shard(folder: Path, ending: str, save: Callable[[dict[str, torch.Tensor], Path], object]) -> Any:
    """Cut the weights of a base into two files with an index."""
    model = write(folder)
    (folder / "model.safetensors").unlink()
    names = sorted(model.state_dict())
    stem, suffix = ending.rsplit(".", 1)
    files = [f"{stem}-0000{k}-of-00002.{suffix}" for k in (1, 2)]
    for k, file in enumerate(files):
        save({name: model.state_dict()[name].contiguous() for name in names[k::2]}, folder / file)
    places = {name: files[k % 2] for k, name in enumerate(names)}
    (folder / f"{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return model


@case("checkpoints: two shards of safetensors with their index", right=SAVED)
def sharded(folder: Path) -> str:
    return compared(folder, shard(folder, "model.safetensors", save_file))


@case("checkpoints: two shards of pytorch_model.bin with their index", right=SAVED)
def sharded_pickles(folder: Path) -> str:
    return compared(folder, shard(folder, "pytorch_model.bin", torch.save))


@case("checkpoints: a config that says img_size=96, weights of 32 px", right="refused")
def other_size(folder: Path) -> str:
    return compared(folder, write(folder, change=lambda c: c["model_args"].update(img_size=96)))


@case("checkpoints: a config that says patch_size=4, weights of patches of 16", right="refused")
def other_patch(folder: Path) -> str:
    return compared(folder, write(folder, change=lambda c: c["model_args"].update(patch_size=4)))


@case("checkpoints: a config with a top-level global_pool avg, weights of the class token", right="refused")
def other_pool(folder: Path) -> str:
    return compared(folder, write(folder, change=lambda c: c.update(global_pool="avg")))


@case("checkpoints: a config that says 5 classes, weights of 11", right="refused")
def other_head(folder: Path) -> str:
    def change(config: dict[str, Any]) -> None:
        config["num_classes"] = 5
        config["model_args"]["num_classes"] = 5

    return compared(folder, write(folder, change=change))


@case("checkpoints: a folder without weights, file named in the hint", right="weights")
def missing(folder: Path) -> str:
    write(folder)
    (folder / "model.safetensors").unlink()
    try:
        return compared(folder, small())
    except part("core.errors").NuwaError as error:
        return "weights" if "weights" in str(error) else f"refused: {error}"
