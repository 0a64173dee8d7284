"""Exported nets that answer for every pixel: against PyTorch, inside TensorRT 8.2's list, timed by the emulator."""

import dataclasses
from typing import Literal, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import normalise
from nuwa_search.core.tasks.label_maps import pixel_rows, upsampled
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions, OutputKind
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.verify import compare_logits, verify_fp16, verify_onnx
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.testing.families import lively_model

ARCH = Arch((BlockSpec(2, 8, 8, 32),) * 2, 16, 5, 32, 8, num_prefix_tokens=2, global_pool="patches")
SHOWN = Preprocess(32, crop_mode="squash")


@pytest.fixture(scope="module")
def model() -> PlainViT:
    vit = PlainViT(ARCH)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in vit.parameters():
            values.add_(0.2 * torch.randn(values.shape, generator=generator))
    return vit.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("batch", "precision", "opset"), [(1, "fp32", 13), (2, "fp32", 18), (1, "fp16", 13)])
def test_graphs_agree_with_pytorch(
    model: PlainViT, images: torch.Tensor, batch: int, precision: str, opset: int
) -> None:
    assert precision in ("fp32", "fp16")
    graph = onnx_from_vit(model, GraphOptions(opset=opset, precision=precision, batch=batch))  # type: ignore[arg-type]
    onnx.checker.check_model(graph, full_check=True)
    found = verify_onnx(model, graph, images, SHOWN, check=precision)  # type: ignore[arg-type]
    assert found.is_met
    assert found.argmax_limit == (0.999 if precision == "fp32" else 0.99)


def test_fp16_arithmetic_keeps_the_answers(model: PlainViT, images: torch.Tensor) -> None:
    assert verify_fp16(model, onnx_from_vit(model), images, SHOWN).argmax_agreement >= 0.99


def test_labels_are_the_likeliest_class_of_each_pixel(model: PlainViT, images: torch.Tensor) -> None:
    graph = onnx_from_vit(model, GraphOptions(output_kind="labels"))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    given = normalise(images[:1], SHOWN)
    (found,) = session.run(["labels"], {"images": given.numpy()})
    assert found.dtype == np.int32
    with torch.inference_mode():
        wanted = upsampled(model(given), (32, 32)).argmax(dim=1).numpy()
    assert (found == wanted).mean() >= 0.999
    compared = verify_onnx(model, graph, images, SHOWN)
    assert compared.is_met
    assert compared.max_abs_error <= (compared.error_limit or 0.0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_patches_are_the_scores_before_they_are_scaled(
    model: PlainViT, images: torch.Tensor, precision: Literal["fp32", "fp16"]
) -> None:
    graph = onnx_from_vit(model, GraphOptions(output_kind="patch_logits", precision=precision))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    given = normalise(images[:1], SHOWN)
    (found,) = session.run(["patch_logits"], {"images": given.numpy()})
    with torch.inference_mode():
        wanted = pixel_rows(model(given)).numpy()
    assert found.shape == (1, 16, 5)
    np.testing.assert_allclose(found[0], wanted, atol=1e-4 if precision == "fp32" else 0.05)
    assert verify_onnx(model, graph, images, SHOWN, check=precision).is_met
    next(entry for entry in graph.metadata_props if entry.key == "nuwa.output").value = "logits"
    with pytest.raises(NuwaError, match="nothing to compare"):
        verify_onnx(model, graph, images, SHOWN, check=precision)


def test_a_wrong_label_is_as_wrong_as_the_model_finds_it() -> None:
    expected = np.zeros((1, 3, 2, 2), np.float32)
    expected[0, :, 0, 0] = (2.0, 1.5, -1.0)
    found = compare_logits(np.array([[[1, 0], [0, 0]]]), expected, check="fp32", runtime="none")
    assert (found.max_abs_error, found.argmax_agreement, found.min_cosine) == (0.5, 0.75, 0.75)
    assert not found.is_met
    near = np.where(expected == 1.5, 1.99, expected).astype(np.float32)  # 0.01 of 2: FP16 cannot tell them apart
    told = compare_logits(np.array([[[1, 0], [0, 0]]]), near, check="fp16", runtime="none")
    assert (told.argmax_agreement, told.min_cosine) == (1.0, 1.0)
    assert compare_logits(np.full((1, 2, 2), 3), expected, check="fp16", runtime="none").max_abs_error == np.inf


def test_maps_of_oblong_images_have_their_sides() -> None:
    vit = lively_model(dataclasses.replace(ARCH, img_size=(32, 48)))
    wide = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    shown = Preprocess((32, 48), crop_mode="squash")
    graph = onnx_from_vit(vit)
    assert [d.dim_value for d in graph.graph.output[0].type.tensor_type.shape.dim] == [1, 5, 32, 48]
    found = verify_onnx(vit, graph, wide, shown)
    assert found.is_met
    assert found.argmax_agreement >= 0.999


def test_labels_are_refused_of_a_net_for_images() -> None:
    whole = PlainViT(dataclasses.replace(ARCH, global_pool="avg"))
    with pytest.raises(NuwaError, match="answers for whole images"):
        onnx_from_vit(whole, GraphOptions(output_kind="labels"))


def test_boards_take_the_graph_and_the_emulator_times_its_maps(model: PlainViT) -> None:
    for output in get_args(OutputKind):
        graph = onnx_from_vit(model, GraphOptions(output_kind=output))
        check_operators(graph, version="8.2.1")
        assert ("Resize" in {node.op_type for node in graph.graph.node}) == (output != "patch_logits")
    trained = onnx_from_vit(model)
    random = onnx_from_arch(ARCH)
    assert [(n.op_type, n.name) for n in trained.graph.node] == [(n.op_type, n.name) for n in random.graph.node]
    device = EmulatedDevice(EMULATED_SPECS["jetson-nano"])
    large = dataclasses.replace(ARCH, img_size=224)
    fewer = dataclasses.replace(large, global_pool="avg")
    maps, whole = (device.measure(onnx_from_arch(a), protocol=PROTOCOL).latency_ms.median for a in (large, fewer))
    assert maps > whole, "scaling to 224 x 224 x 5 takes time"
