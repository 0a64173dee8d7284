"""The plain ViT inside an ONNX export is found, and its features are the graph's."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import onnx
import pytest
import timm
import torch
from torch import nn

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.from_onnx import vit_from_onnx
from nuwa_search.core.img_size import ImgSize, sides_of
from nuwa_search.core.positions import resampled_positions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

SIZE = 32


class WithDecoder(nn.Module):
    """A backbone whose patch tokens a small decoder reads, as dense prediction has it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = nn.Linear(48, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self.decoder(self.backbone(images).last_hidden_state[:, 1:])
        return decoded


def disturb(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model.eval()


def dinov2() -> nn.Module:
    config = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, image_size=56, patch_size=8
    )
    return disturb(WithDecoder(transformers.Dinov2Model(config)))


def timm_vit() -> nn.Module:
    return disturb(
        timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=4
        )
    )


def write(model: nn.Module, path: Path, *, dynamo: bool, size: ImgSize = SIZE) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        timm.layers.set_fused_attn(False)
        images = (torch.randn(2, 3, *sides_of(size)),)
        if dynamo:
            torch.onnx.export(model, images, str(path), opset_version=18, external_data=False, verbose=False)
        else:
            torch.onnx.export(model, images, str(path), opset_version=14, dynamo=False)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("build", [dinov2, timm_vit])
def test_features_are_those_of_the_graph(build: Callable[[], nn.Module], dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build()
    path = tmp_path / "net.onnx"
    write(model, path, dynamo=dynamo)
    found = vit_from_onnx(path)
    assert found.graph_size == SIZE
    assert found.relative_error < 1e-5
    vit = found.model
    images = torch.randn(3, 3, *sides_of(vit.arch.img_size))
    with torch.inference_mode():
        mine = vit.norm(vit.forward_features(images))
        if isinstance(model, WithDecoder):
            wanted = model.backbone(images).last_hidden_state
        else:
            wanted = cast(Callable[[torch.Tensor], torch.Tensor], model.forward_features)(images)
    assert (mine - wanted).norm() / wanted.norm() < 1e-5
    assert found.num_left_out == (2 if build is dinov2 else 0) or dynamo
    if build is dinov2:
        assert found.resampled_cosine > 0.99


def test_a_graph_of_oblong_images_keeps_its_stored_square_of_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = cast(WithDecoder, dinov2())
    smooth = nn.functional.interpolate(torch.randn(1, 48, 3, 3), size=(7, 7), mode="bicubic")
    with torch.no_grad():  # as trained ones are: of noise the graph's resampling, without antialiasing, leaves less
        model.get_parameter("backbone.embeddings.position_embeddings")[:, 1:] = smooth.flatten(2).transpose(1, 2)
    write(model, tmp_path / "net.onnx", dynamo=False, size=(32, 48))
    found = vit_from_onnx(tmp_path / "net.onnx")
    assert (found.graph_size, found.model.arch.img_size) == ((32, 48), 56)
    assert found.relative_error < 1e-5
    assert 0.98 < found.resampled_cosine < 1


def test_positions_are_resampled_as_timm_does() -> None:
    grid = torch.randn(1, 49, 8)
    wanted = timm.layers.resample_abs_pos_embed(grid, new_size=[4, 4], num_prefix_tokens=0)
    assert torch.equal(resampled_positions(grid, old=(7, 7), new=(4, 4)), wanted)
    assert resampled_positions(grid, old=(7, 7), new=(7, 7)) is grid


def test_another_function_is_no_silent_import(tmp_path: Path) -> None:
    """The same names and shapes, but a graph that adds something of its own."""
    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    write(timm_vit(), path, dynamo=False)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Erf":
            node.op_type = "Tanh"
    onnx.save(model, path)
    with pytest.raises(NoAnswerError, match="does not compute"):
        vit_from_onnx(path)


def test_what_holds_no_vit_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), path, dynamo=False)
    with pytest.raises(NuwaError, match="no plain ViT"):
        vit_from_onnx(path)
    path.write_bytes(b"not a graph")
    with pytest.raises(NuwaError, match="cannot be read as ONNX"):
        vit_from_onnx(path)
    with pytest.raises(NuwaError, match="no file"):
        vit_from_onnx(tmp_path / "nowhere.onnx")
