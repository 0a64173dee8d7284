"""Bases without a classifier: a head is fitted on the user's classes, reading what is best on the search split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import nn

from nuwa_search.core.base import load_base
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import choose_head, pooled_by
from nuwa_search.core.logits import logits_of, normalise, top1
from nuwa_search.core.tensors import SplitTensors, TaskTensors
from nuwa_search.service.cli.main import cli, run
from tests.core.test_from_onnx import SIZE, timm_vit, write
from tests.support.derive_models import PREPROCESS, make_model

ARGS = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}


def test_a_folder_without_a_head_loads_with_its_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **ARGS).eval()
    save_for_hf(model, tmp_path, model_args=ARGS, safe_serialization=True)
    base = load_base(str(tmp_path))
    assert not base.has_head
    assert base.label_names == ()
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        wanted = model.forward_head(model.forward_features(images), pre_logits=True)
        assert torch.allclose(base.model.pool(base.model.forward_features(images)), wanted, atol=1e-5)


@pytest.mark.parametrize("informative", ["token", "avg", "token_avg"])
def test_a_fitted_head_reads_where_the_classes_show(informative: str) -> None:
    """Classes are written into the class token's features, the patches' mean, or half into each."""
    torch.manual_seed(0)
    model = make_model("token")
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (240, 3, 16, 16), generator=generator, dtype=torch.uint8)
    wide = pooled_by(model, "token_avg")
    with torch.inference_mode():
        features = wide.pool(wide.forward_features(normalise(images, PREPROCESS)))
    centred = features - features.mean(dim=0)
    first, second = centred[:, :24] @ torch.randn(24), centred[:, 24:] @ torch.randn(24)
    bit, other = (first > first.median()).long(), (second > second.median()).long()
    labels = {"token": bit, "avg": other, "token_avg": 2 * bit + other}[informative]
    train, search = SplitTensors(images[:160], labels[:160]), SplitTensors(images[160:], labels[160:])
    told = []
    found = choose_head(
        model,
        TaskTensors(train, search, PREPROCESS),
        num_classes=int(labels.max()) + 1,
        on_images=lambda *said: told.append(said),
    )
    assert told == [(0, 240), (160, 240)]  # a batch holds each split
    assert found.arch.global_pool == informative
    assert top1(logits_of(found, search.images, PREPROCESS), search.labels) > 0.55


def test_a_pooling_that_is_asked_for_is_taken_and_one_that_cannot_be_is_refused() -> None:
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    split = SplitTensors(images, torch.arange(40) % 2)
    for pool in ("token", "avg", "token_avg"):
        found = choose_head(make_model("rotary"), TaskTensors(split, split, PREPROCESS), num_classes=2, pool=pool)
        assert found.arch.global_pool == pool
    with pytest.raises(NuwaError, match="no class token") as caught:
        choose_head(
            make_model("avg_no_class_token"), TaskTensors(split, split, PREPROCESS), num_classes=2, pool="token"
        )
    assert "--pool one of auto, avg" in caught.value.hint


def test_pooling_changes_nothing_but_what_the_head_reads() -> None:
    model = make_model("registers")
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        stream = model.norm(model.forward_features(images))
        both = pooled_by(model, "token_avg").pool(model.forward_features(images))
    patches = stream[:, model.arch.num_prefix_tokens :].mean(dim=1)
    assert torch.allclose(both, torch.cat([stream[:, 0], patches], dim=1), atol=1e-6)


def test_base_import_writes_a_base_that_computes_what_the_graph_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model: nn.Module = timm_vit()
    write(model, tmp_path / "net.onnx", dynamo=False)
    folder = tmp_path / "base"
    assert run(cli, ["base", "import", str(tmp_path / "net.onnx"), "-o", str(folder), "--json"], prog_name="nuwa") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["img_size"], answer["dir"]) == ("nuwa.base-import/1", SIZE, str(folder))
    assert answer["relative_error"] < 1e-5
    base = load_base(str(folder))
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        features = cast(Callable[[torch.Tensor], torch.Tensor], model.forward_features)(images)
        wanted = cast(Callable[..., torch.Tensor], model.forward_head)(features, pre_logits=True)
        got = base.model.pool(base.model.forward_features(images))
    assert (got - wanted).norm() / wanted.norm() < 1e-5
    config = json.loads((folder / "config.json").read_text())
    assert "augreg" not in json.dumps(config)  # nothing of the net that timm's shape is borrowed from
    assert run(cli, ["base", "import", str(tmp_path / "net.onnx"), "-o", str(folder)], prog_name="nuwa") == 2
    assert "not empty" in capsys.readouterr().err
    other = ["base", "import", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "b"), "--img-size", "30"]
    assert run(cli, other, prog_name="nuwa") == 2
    assert "patches of 8" in capsys.readouterr().err
