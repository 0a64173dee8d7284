"""What exports are worth: do they agree with timm's own models, and how fast are they on ONNX Runtime.

    python -m benchmarks.deploy_export agree --data CIFAR100_DIR -o benchmarks/results/deploy_export_agreement.csv
    python -m benchmarks.deploy_export speed -o benchmarks/results/deploy_export_speed.csv

``agree`` takes every family of ViT that can be a base, trained for some seconds on five classes of CIFAR-100 so that
predictions have margins, and the package's own base. The reference is timm's module, not ours. ``speed`` runs one
thread and reads that thread's clock, which stops while other programs run; rivals are timed in alternating pairs.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from timm.utils.onnx import onnx_export
from torch import Tensor, nn

from benchmarks.deploy_tables import append_row, has_row, origin
from nuwa_search.core.base import ASSETS_DIR, load_base
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.from_timm import plain_from_timm
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.runtime import FloatArray
from nuwa_search.core.task import Task, make_task
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.runtimes.batches import run_batches
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.runtimes.torch_runtime import TorchRuntime

SEED = 0
SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3, "num_classes": 5}
FAMILIES: dict[str, dict[str, Any]] = {
    "class token": {},
    "average pooling": {"global_pool": "avg"},
    "average pooling, no class token": {"global_pool": "avg", "class_token": False},
    "no qkv bias": {"qkv_bias": False},
    "LayerScale": {"init_values": 0.5},
    "registers": {"reg_tokens": 4, "no_embed_class": True},
    "no position for class token": {"no_embed_class": True},
    "pre-norm": {"pre_norm": True},
    "no final norm": {"final_norm": False},
    "fc_norm": {"fc_norm": True},
    "no projection bias": {"proj_bias": False},
    "quick GELU": {"act_layer": "quick_gelu"},
    "tanh GELU": {"act_layer": "gelu_tanh"},
    "ReLU": {"act_layer": "relu"},
    "no positions": {"pos_embed": "none"},
}
OPSETS = (13, 18)
VEHICLES = ("bicycle", "bus", "motorcycle", "pickup_truck", "train")
TRAIN_STEPS, TRAIN_BATCH, TRAIN_LR = 120, 64, 1e-3

SUBNETS: dict[str, dict[str, Any]] = {
    "32 px, 6 of 12 blocks": {"depth": 6},
    "32 px, 8 of 12 blocks, half the MLP": {"depth": 8, "mlp_ratio": 2.0},
    "224 px, DeiT-Ti with 6 of 12 blocks": {"img_size": 224, "patch_size": 16, "depth": 6, "num_heads": 3},
}
"""Cuts that timm can build too, so that the rivals run an equal model; the first two are of the package's base."""
PACKAGED: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "num_heads": 6, "num_classes": 5}
PAIRS = 21
BURST_MS = 60.0
RESAMPLES = 2000
SPEED_OPSET = 17  # what the device `host` is exported with


def measure_agreement(options: argparse.Namespace) -> None:
    """Compare exports of every family with timm's forward pass on real images."""
    base = load_base()
    splits = load_dataset(options.data).splits
    task = make_task(splits, data="cifar100", base_labels=base.label_names, classes=VEHICLES)
    train, test = (split_tensors(part, base.preprocess) for part in (task.train, task.test))
    for family in [*FAMILIES, "distilled", "the package's base (trained)"]:
        if has_row(options.output, {"family": family, "opset": OPSETS[-1]}):
            continue
        plain, reference = _family(family, train, base.preprocess, task)
        scale = stream_scale_from_images(plain, train.images[:64], base.preprocess)
        given = normalise(test.images, base.preprocess)
        expected = reference(given)
        for opset in OPSETS:
            exported = onnx_from_vit(plain, GraphOptions(opset=opset, batch=50), stream_scale=scale).SerializeToString()
            fp32 = run_batches(OnnxRuntime().load(exported), given.numpy())
            fp16 = run_batches(TorchRuntime(rounding=torch.float16).load(exported), given.numpy())
            row = {
                "family": family,
                "opset": opset,
                "images": len(test),
                "max_abs_logit": round(float(np.abs(expected).max()), 3),
                "fp32_max_error": float(np.abs(fp32 - expected).max()),
                "fp32_argmax": _same(fp32, expected),
                "fp16_max_error": float(np.abs(fp16 - expected).max()),
                "fp16_argmax": _same(fp16, expected),
                "reference_top1": float((expected.argmax(1) == test.labels.numpy()).mean()),
            }
            protocol = "against timm's forward; fp16: every constant and intermediate rounded to float16, in torch"
            told = origin(runtime="onnxruntime, torch", precision="fp32, fp16", seed=SEED, protocol=protocol)
            append_row(options.output, row | told)


def _family(
    family: str, train: SplitTensors, preprocess: Preprocess, task: Task
) -> tuple[PlainViT, Callable[[Tensor], FloatArray]]:
    """Make a family's plain module and timm's own way to its logits."""
    if family.startswith("the package's"):
        base = load_base()
        import timm

        theirs = timm.create_model(f"local-dir:{ASSETS_DIR / 'base'}", pretrained=True).eval()
        rows = torch.tensor(task.base_classes or ())
        return restrict_head(base.model, task.base_classes or ()), lambda x: _forward(theirs, x)[:, rows.numpy()]
    torch.manual_seed(SEED)
    model: nn.Module
    if family == "distilled":
        model = VisionTransformerDistilled(**SMALL).eval()
    else:
        model = VisionTransformer(**SMALL, **FAMILIES[family]).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # norms, biases, tokens and positions far from where they begin: each must matter
            spread = 0.2 if parameter.ndim == 1 or "token" in name or "pos" in name else 0.02
            parameter.add_(spread * torch.randn_like(parameter))
    _train(model, train, preprocess)
    return plain_from_timm(model, name=family), lambda x: _forward(model, x)


def _train(model: nn.Module, train: SplitTensors, preprocess: Preprocess) -> None:
    """Teach a small model five classes; in training mode a distilled one answers with its two heads."""
    rng = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(model.parameters(), lr=TRAIN_LR)
    for _ in range(TRAIN_STEPS):
        chosen = torch.randint(0, len(train), (TRAIN_BATCH,), generator=rng)
        logits = model(normalise(train.images[chosen], preprocess))
        loss = nn.functional.cross_entropy(logits, train.labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor) -> FloatArray:
    out: FloatArray = torch.cat([model(part) for part in images.split(50)]).float().numpy()
    return out


def _same(found: FloatArray, expected: FloatArray) -> float:
    return float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())


def measure_speed(options: argparse.Namespace) -> None:
    """Time our export against torch.compile and timm's exports of the equal model."""
    torch.set_num_threads(1)
    for name, changes in SUBNETS.items():
        args = PACKAGED | changes
        torch.manual_seed(SEED)
        model = VisionTransformer(global_pool="avg", **args).eval()
        plain = plain_from_timm(model, name=name)
        image = torch.randn(1, 3, args["img_size"], args["img_size"])
        ours = _session_run(onnx_from_vit(plain, GraphOptions(opset=SPEED_OPSET)).SerializeToString(), image)
        for rival, make in _rivals(model, image).items():
            if has_row(options.output, {"subnet": name, "rival": rival}):
                continue
            pairs = time_pairs(ours, make())
            ratios = pairs[:, 1] / pairs[:, 0]
            low, high = bootstrap_interval(ratios)
            row = {
                "subnet": name,
                "params": count_params(plain.arch),
                "macs": count_macs(plain.arch),
                "rival": rival,
                "ours_ms": round(float(np.median(pairs[:, 0])), 4),
                "rival_ms": round(float(np.median(pairs[:, 1])), 4),
                "speed_ratio": round(float(np.median(ratios)), 4),
                "ratio_low": round(low, 4),
                "ratio_high": round(high, 4),
                "pairs": len(pairs),
            }
            protocol = (
                f"batch 1, thread CPU time, {PAIRS} alternating bursts of {BURST_MS:g} ms each; "
                "ratio above 1: ours is faster; 95 % bootstrap interval of the median"
            )
            runtime = "torch" if rival.startswith("torch") else "onnxruntime"
            told = origin(runtime=f"onnxruntime against {runtime}", precision="fp32", seed=SEED, protocol=protocol)
            append_row(options.output, row | told)


def _rivals(model: nn.Module, image: Tensor) -> dict[str, Callable[[], Callable[[], object]]]:
    def compiled() -> Callable[[], object]:
        fast = torch.compile(model)

        @torch.inference_mode()
        def call() -> object:
            return fast(image)

        return call

    def exported(*, use_dynamo: bool) -> Callable[[], object]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "timm.onnx"
            onnx_export(model, str(path), example_input=image, batch_size=1, use_dynamo=use_dynamo)
            return _session_run(path.read_bytes(), image)

    return {
        "torch.compile": compiled,
        "timm export, TorchScript": lambda: exported(use_dynamo=False),
        "timm export, dynamo": lambda: exported(use_dynamo=True),
    }


def _session_run(model: bytes, image: Tensor) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, feed)


def time_pairs(ours: Callable[[], object], theirs: Callable[[], object]) -> npt.NDArray[np.float64]:
    """Time both in alternating bursts: (PAIRS, 2) milliseconds per call, ours first."""
    runs = (ours, theirs)
    for run in runs:
        for _ in range(5):
            run()
    counts = [max(1, round(BURST_MS / _burst(run, 3))) for run in runs]
    out = np.empty((PAIRS, 2))
    for pair in range(PAIRS):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):  # neither always goes first
            out[pair, side] = _burst(runs[side], counts[side])
    return out


def _burst(run: Callable[[], object], count: int) -> float:
    begin = time.thread_time()
    for _ in range(count):
        run()
    return (time.thread_time() - begin) * 1e3 / count


def bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of the median."""
    rng = np.random.default_rng(SEED)
    medians = np.median(rng.choice(values, (RESAMPLES, len(values))), axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    """Read the arguments and run one of the two comparisons; rows that are there are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("agree", measure_agreement), ("speed", measure_speed)):
        kind = kinds.add_parser(name, help=run.__doc__)
        kind.add_argument("-o", "--output", type=Path, required=True)
        if run is measure_agreement:
            kind.add_argument("--data", required=True, metavar="CIFAR100_DIR")
        kind.set_defaults(run=run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
