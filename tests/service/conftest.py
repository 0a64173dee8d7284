"""A toy base and toy images, small enough for whole searches in seconds."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from tests.support.toy_images import write_colours

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A three-block ViT with random weights in timm's hub format; it knows the classes of ``toy_images``."""
    folder = tmp_path_factory.mktemp("toy") / "base"
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


@pytest.fixture(scope="session")
def toy_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of three colours, 30 images for training and 10 for the test each."""
    return write_colours(tmp_path_factory.mktemp("toy") / "images", CLASSES)
