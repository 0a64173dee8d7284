"""A small base in timm's hub format, for cases about checkpoints."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf

SMALL = {"embed_dim": 12, "depth": 1, "num_heads": 2, "img_size": 32, "num_classes": 11}
"""Arguments of the small ViT; 32 px in patches of 16."""


def write_base(
    folder: Path, *, images: dict[str, Any] | None = None, names: Any = None, broken: float | None = None
) -> Path:
    """Write a base and return its folder.

    Args:
        folder: Filled.
        images: What of ``pretrained_cfg`` to set, such as ``crop_mode``, as it would stand in ``config.json``.
        names: ``label_names``; None leaves them out.
        broken: A value that one weight takes.
    """
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, **SMALL)
    if broken is not None:
        with torch.no_grad():
            model.head.weight[0, 0] = broken
    labels = {} if names is None else {"label_names": names}
    save_for_hf(model, folder, model_config=labels, model_args=dict(SMALL), safe_serialization=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"].update({"crop_pct": 1.0, **(images or {})})
    path.write_text(json.dumps(config))
    return folder
