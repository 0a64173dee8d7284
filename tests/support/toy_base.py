"""A ViT small enough for whole searches in seconds."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

CLASSES = ("blue", "green", "red")


def write_toy_base(folder: Path) -> Path:
    """Write a three-block ViT with random weights in timm's hub format; it knows ``CLASSES``."""
    folder.mkdir()
    args = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 3, "num_heads": 3, "global_pool": "avg"}
    torch.manual_seed(0)
    model = VisionTransformer(num_classes=3, **args)  # type: ignore[arg-type]  # values of mixed types on purpose
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "model_args": args,
        "pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 3},
        "label_names": list(CLASSES),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
