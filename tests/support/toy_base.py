"""A ViT small enough for whole searches in seconds."""

import json
import shutil
from pathlib import Path

CLASSES = ("blue", "green", "red")
WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "toy_base.safetensors"
"""timm's initial weights of such a net at seed 0, plus 0.1 of ``torch.randn`` each, as torch 2.15 draws them on a CPU
with AVX2. They are kept because ids of old files are hashes over them, and ``torch.randn`` gives other last bits on a
CPU without AVX2 (findings/randn_differs_by_cpu.sh)."""


def write_toy_base(folder: Path) -> Path:
    """Write a three-block ViT with random weights in timm's hub format; it knows ``CLASSES``."""
    folder.mkdir()
    args = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 3, "num_heads": 3, "global_pool": "avg"}
    shutil.copyfile(WEIGHTS, folder / "model.safetensors")
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "model_args": args,
        "pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 3},
        "label_names": list(CLASSES),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
