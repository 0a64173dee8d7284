"""What a search ended with, judged by the code of now: test images that are right, KL to the base, latency.

Usage, of what ``old_whole`` left in PLACE: python -m benchmarks.real_size.winner PLACE BUDGET_MS SEED
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.real_size.jobs import DEVICE
from nuwa_search.core.arch import arch_from_dict
from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.search.job.find import exported

BASE, DERIVED, SHIPPED = "base", "derived", "shipped"


def judge(
    nets: dict[str, PlainViT], splits: dict[str, SplitTensors], preprocess: Preprocess, *, budget_ms: float, seed: int
) -> dict[str, Any]:
    """Judge the base, the winner as derived, and as it is shipped, all in FP32.

    Args:
        nets: By the names above.
        splits: ``train``, ``search`` and ``test``; the first two are only named, so that both builds' can be compared.
        preprocess: Of the base.
        budget_ms: On the emulated device.
        seed: Of the noise of its measurement.
    """
    test, spec = splits["test"], device_spec(DEVICE)
    logits = {name: logits_of(net.eval(), test.images, preprocess) for name, net in nets.items()}
    measured = open_device(spec, seed=seed).measure(exported(nets[SHIPPED], spec), protocol=PROTOCOL)
    return {
        "splits": {name: split.content_hash for name, split in splits.items()},
        "images": len(test),
        "right": {name: text_of((answer.argmax(dim=1) == test.labels).numpy()) for name, answer in logits.items()},
        "kl": {name: mean_kl(logits[BASE], logits[name]) for name in (DERIVED, SHIPPED)},
        "head reads": nets[BASE].arch.global_pool,
        "latency_ms": measured.latency_ms.median,
        "budget_ms": budget_ms,
    }


def mean_kl(base: Tensor, other: Tensor) -> float:
    """Mean over images of KL(base ‖ other) in nats, of logits (B, C)."""
    log_p, log_q = (F.log_softmax(logits.double(), dim=1) for logits in (base, other))
    return float(F.kl_div(log_q, log_p, reduction="batchmean", log_target=True))


def text_of(right: npt.NDArray[np.bool_]) -> str:
    """Write a bit per image (N,) as hexadecimal digits."""
    return np.packbits(right).tobytes().hex()


def bits_of(text: str, num_images: int) -> npt.NDArray[np.float64]:
    """Read ``text_of`` back: (N,) of 0 and 1."""
    packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    return np.unpackbits(packed, count=num_images).astype(np.float64)


def main(place: Path, *, budget_ms: float, seed: int) -> None:
    """Load an old build's winner into the plain ViT of now, and judge it beside the base it was cut from."""
    about = json.loads((place / "arch.json").read_text())
    tensors = torch.load(place / "tensors.pt", weights_only=True)
    archs = {BASE: about["arch"]} | json.loads((place / "winner.json").read_text())
    weights = {BASE: tensors["model"]} | torch.load(place / "winner.pt", weights_only=True)
    nets = {}
    for name, arch in archs.items():
        nets[name] = PlainViT(arch_from_dict(arch))
        nets[name].load_state_dict(weights[name])
    splits = {name: SplitTensors(*tensors[name]) for name in ("train", "search", "test")}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["preprocess"].items()
    }
    json.dump(judge(nets, splits, Preprocess(**values), budget_ms=budget_ms, seed=seed), sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), budget_ms=float(sys.argv[2]), seed=int(sys.argv[3]))
