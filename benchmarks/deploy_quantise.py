"""INT8 on this CPU for three subnets, and what each step from the base to the quantised subnet does.

    python -m benchmarks.deploy_quantise int8 --data CIFAR100_DIR -o benchmarks/results/deploy_quantise.csv
    python -m benchmarks.deploy_quantise steps --data CIFAR100_DIR -o benchmarks/results/deploy_steps.csv

Both go the way people go: bundles, written to a temporary folder and exported with ``--precision int8``'s own code.
The images are of CIFAR-100. Latency and memory are those of the device ``host``.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import onnx
import torch

from benchmarks.deploy_tables import append_row, has_row, origin
from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.cost import count_macs
from nuwa_search.core.device import PROTOCOL, Measurement
from nuwa_search.core.heads import restrict_head
from nuwa_search.core.logits import normalise
from nuwa_search.core.source_name import PACKAGED_BASE
from nuwa_search.core.sources import open_task
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import TaskTensors, split_tensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.export_bundle import ExportRequest, export_bundle
from nuwa_search.deploy.quantise_bundle import Int8Images, quantise_bundle
from nuwa_search.deploy.runtimes.batches import run_batches
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.teacher import Teacher
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.latency.devices.registry import device_spec
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.job.tune import finetune_config

SEED = 0
FULL = BlockSpec(6, 32, 32, 768)
SUBNETS: dict[str, Sequence[BlockSpec]] = {
    "9 whole blocks": [FULL] * 9 + [EMPTY_BLOCK] * 3,
    "12 blocks, half the MLP": [BlockSpec(6, 32, 32, 384)] * 12,
    "10 blocks of half width": [BlockSpec(6, 16, 16, 256)] * 10 + [EMPTY_BLOCK] * 2,
}
VEHICLES = ("bicycle", "bus", "motorcycle", "pickup_truck", "train")
STEPS_SUBNET = "10 blocks of half width"
FINETUNE_STEPS = 100
MAX_LOSS = 0.01
MEASURED = (
    "device host, protocol of a search, FP32 and INT8 in three alternating rounds; ranges from 64 training images, "
    f"at most {100 * MAX_LOSS:g} points of search top1 may be lost; test images: 250 of five classes of CIFAR-100"
)


class Ground:
    """The task, the base with its head, and derivation, opened once."""

    def __init__(self, data: str) -> None:
        self.base: Base = load_base()
        self.task: Task = open_task(self.base, data=data, label_column=None, classes=VEHICLES, seed=SEED)
        self.tensors: TaskTensors = task_tensors(self.task, self.base.preprocess)
        self.test = split_tensors(self.task.test, self.base.preprocess)
        self.teacher: PlainViT = restrict_head(self.base.model, self.task.base_classes or ())
        self.deriver = Deriver(self.teacher, self.tensors.train, self.base.preprocess)

    def arch_of(self, name: str) -> Arch:
        return dataclasses.replace(self.teacher.arch, blocks=tuple(SUBNETS[name]))

    def bundle(self, folder: Path, model: PlainViT, arch: Arch) -> Path:
        """Write a bundle of ``model``."""
        return write_bundle(folder, BundleParts(model, arch, self.task.class_names, self.base.preprocess)).dir

    def test_top1(self, path: Path) -> float:
        """Run an ONNX file over the test images on ONNX Runtime."""
        images = normalise(self.test.images, self.base.preprocess).numpy()
        logits = run_batches(OnnxRuntime().load(path), images)
        return float((logits.argmax(axis=1) == self.test.labels.numpy()).mean())


def measure_int8(options: argparse.Namespace) -> None:
    """Quantise three derived subnets and measure both graphs of each."""
    ground = Ground(options.data)
    for name in SUBNETS:
        if has_row(options.output, {"subnet": name}):
            continue
        arch = ground.arch_of(name)
        with tempfile.TemporaryDirectory() as folder:
            bundle = ground.bundle(Path(folder, "b"), ground.deriver.derive(arch), arch)
            request = ExportRequest(device_spec("host"), opened_device, seed=SEED)
            export_bundle(bundle, request)
            plain_test = ground.test_top1(bundle / "model.onnx")
            answer = quantise_bundle(bundle, request, images=Int8Images(PACKAGED_BASE), max_loss=MAX_LOSS)
            facts = answer.int8
            row = {
                "subnet": name,
                "macs": count_macs(arch),
                "fp32_latency_ms": round(facts.plain_latency_ms, 4),
                "int8_latency_ms": _rounded(facts.latency_ms),
                "latency_ratio": _rounded(facts.latency_ratio),
                "fp32_search_top1": facts.plain_top1_search,
                "int8_search_top1": facts.top1_search,
                "fp32_test_top1": plain_test,
                "int8_test_top1": ground.test_top1(bundle / "model.onnx") if answer.accepted else None,
                "fp32_onnx_mb": answer.plain_onnx_mb,
                "int8_onnx_mb": answer.onnx_mb if answer.accepted else None,
                "float_blocks": " ".join(map(str, facts.float_blocks or ())),
                "accepted": answer.accepted,
            }
        told = origin(runtime="onnxruntime", precision="fp32, int8", seed=SEED, protocol=MEASURED)
        append_row(options.output, row | told)


def measure_steps(options: argparse.Namespace) -> None:
    """Follow one subnet: base, derived, distilled, quantised."""
    if has_row(options.output, {"step": "quantised"}):
        return
    ground = Ground(options.data)
    arch = ground.arch_of(STEPS_SUBNET)
    derived = ground.deriver.derive(arch)
    config = finetune_config(steps=FINETUNE_STEPS, epochs=None, num_train=0, seed=SEED, has_fitted_head=False)
    tuned = finetune(
        derived,
        ground.tensors,
        teacher=Teacher(ground.teacher),
        config=dataclasses.replace(config, views=2),
    ).student
    with tempfile.TemporaryDirectory() as folder:
        for step, model, shape in (
            ("base", ground.teacher, ground.teacher.arch),
            ("derived", derived, arch),
            ("distilled", tuned, arch),
            ("quantised", tuned, arch),
        ):
            bundle = ground.bundle(Path(folder, step), model, shape)
            request = ExportRequest(device_spec("host"), opened_device, seed=SEED)
            if step == "quantised":
                quantise_bundle(bundle, request, images=Int8Images(PACKAGED_BASE), max_loss=MAX_LOSS)
            else:
                export_bundle(bundle, request)
            _append_step(options.output, step, ground, bundle)


def _append_step(path: Path, step: str, ground: Ground, bundle: Path) -> None:
    certificate = read_bundle(bundle).certificate
    if certificate is None:
        raise AssertionError("an export writes a certificate")
    with get_context("spawn").Pool(1) as pool:  # in a process that holds nothing else, or memory would be reused
        measured = pool.apply(_measure, (bundle / "model.onnx",))
    row = {
        "step": step,
        "subnet": "the package's base" if step == "base" else STEPS_SUBNET,
        "test_top1": ground.test_top1(bundle / "model.onnx"),
        "latency_ms": round(measured.latency_ms.median, 4),
        "onnx_mb": round((bundle / "model.onnx").stat().st_size / 1e6, 3),
        "peak_memory_mb": _rounded(measured.peak_memory_mb),
    }
    told = origin(
        runtime="onnxruntime",
        precision=certificate.device.precision,
        seed=SEED,
        protocol=f"device host; {FINETUNE_STEPS} steps of distillation; memory: rise of the process while loading and "
        "running once, in a process of its own",
    )
    append_row(path, row | told)


def _measure(path: Path) -> Measurement:
    with opened_device(device_spec("host"), seed=SEED) as device:
        return device.measure(onnx.load(path), protocol=PROTOCOL)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> None:
    """Read the arguments and run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("int8", measure_int8), ("steps", measure_steps)):
        kind = kinds.add_parser(name, help=run.__doc__)
        kind.add_argument("-o", "--output", type=Path, required=True)
        kind.add_argument("--data", required=True, metavar="CIFAR100_DIR")
        kind.set_defaults(run=run)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)


if __name__ == "__main__":
    main()
