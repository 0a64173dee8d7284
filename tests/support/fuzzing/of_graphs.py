"""Readers of ONNX graphs: measured, imported, quantised, checked for a board."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.from_onnx import vit_from_onnx
from nuwa_search.core.onnx_file import load_weights_beside, parse_onnx, read_onnx_bytes
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.quantise.qdq import Int8Quantiser
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.runtimes.ort_feeds import drawn_feeds, run_with
from nuwa_search.deploy.runtimes.torch_graph import TorchGraph
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.typed_precision import check_typed_precision
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from tests.support.fuzzing.mutations import mutated_onnx
from tests.support.fuzzing.of_boards import NANO, PROTOCOL
from tests.support.fuzzing.reader import Reader

SMALL = Arch((BlockSpec(1, 8, 8, 16),), embed_dim=8, num_classes=3, img_size=8, patch_size=4)
IMAGES = np.linspace(-1, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)
HOST = DeviceSpec("host", "host", "onnxruntime", "1", "int8", opset=17)


def graph_readers(folder: Path) -> list[Reader]:
    """Measure, import and quantise a small ViT's graph, and check it for an engine."""
    names = ("nano", "orin", "host", "cuda", "builder", "quantised", "imported")
    paths = {name: folder / f"{name}.onnx" for name in names}
    for name, path in paths.items():
        path.write_bytes(onnx_from_arch(SMALL, opset=13 if name == "nano" else 17).SerializeToString())
    _write_named(paths["imported"])

    def parsed(name: str) -> Any:
        return parse_onnx(read_onnx_bytes(paths[name]), origin=name)

    def run_on_host() -> None:
        session = OnnxRuntime().open(parsed("host").SerializeToString())
        run_with(session, drawn_feeds(session.get_inputs(), seed=0))()

    def run_on_torch() -> None:  # as device cuda does, on the CPU
        graph = TorchGraph(parsed("cuda"), dtype=torch.float32, device="cpu")
        graph.run(np.zeros(graph.input_shape, dtype=np.float32))

    def check_for_builder() -> None:
        model = parsed("builder")
        load_weights_beside(model, paths["builder"])
        check_operators(model, version="10.3.0")
        check_typed_precision(model, precision="fp32", version="11.0.0")

    return [
        *(
            Reader(f"ONNX: emulated {board}", paths[name], mutated_onnx, _pricing(paths[name], board))
            for name, board in (("nano", "jetson-nano"), ("orin", "jetson-orin-nano"))
        ),
        Reader("ONNX: host", paths["host"], mutated_onnx, run_on_host),
        Reader("ONNX: cuda", paths["cuda"], mutated_onnx, run_on_torch),
        Reader("ONNX: TensorRT builder", paths["builder"], mutated_onnx, check_for_builder),
        Reader(
            "ONNX: INT8",
            paths["quantised"],
            mutated_onnx,
            lambda: Int8Quantiser(parsed("quantised"), IMAGES, device=HOST).quantise(),
            share=0.3,
        ),
        Reader("ONNX: import", paths["imported"], mutated_onnx, lambda: vit_from_onnx(paths["imported"])),
    ]


def _pricing(path: Path, board: str) -> Any:
    spec = EMULATED_SPECS.get(board, NANO)
    return lambda: EmulatedDevice(spec).measure(parse_onnx(read_onnx_bytes(path), origin="it"), protocol=PROTOCOL)


def _write_named(path: Path) -> None:
    """Write a ViT with the names of its parameters, as torch's exporter does."""
    import warnings

    import timm

    args: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    timm.layers.set_fused_attn(False)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, **args).eval()
    with torch.no_grad():
        for value in model.parameters():  # equal constants would become one, with one name
            value.add_(0.1 * torch.randn_like(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(model, (torch.randn(2, 3, 16, 16),), str(path), opset_version=14, dynamo=False)
    timm.layers.set_fused_attn(True)
