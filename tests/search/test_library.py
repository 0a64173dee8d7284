import copy
import dataclasses

import pytest
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.library import _Streams, build_library, library_archs
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.search.space import space_from_base

BASE = Arch(
    blocks=(BlockSpec(2, 16, 16, 64),) * 3, embed_dim=32, num_classes=4, img_size=16, patch_size=8, global_pool="avg"
)


class SlicingDeriver:
    """Keeps leading heads, channels and neurons of the model; other blocks keep their very tensors."""

    def __init__(self, model: PlainViT, *, touch_stem: bool = False) -> None:
        self.model = model
        self.touch_stem = touch_stem

    def derive(self, arch: Arch) -> PlainViT:
        out = PlainViT(arch).eval()
        state = copy.deepcopy(self.model.state_dict())
        place = 0
        for i, (spec, full) in enumerate(zip(arch.blocks, self.model.arch.blocks, strict=True)):
            if spec.is_empty:
                continue
            for name in out.blocks[place].state_dict():
                state[f"new.{place}.{name}"] = self._cut(state[f"blocks.{i}.{name}"], name, spec, full)
            place += 1
        state = {k: v for k, v in state.items() if not k.startswith("blocks.")}
        state = {k.replace("new.", "blocks."): v for k, v in state.items()}
        if self.touch_stem:
            state["pos_embed"] = state["pos_embed"] + 0.01
        out.load_state_dict(state)
        return out

    def _cut(self, value, name, spec, full):
        if name.startswith("attn.qkv"):
            q, k, v = value.split([full.num_heads * full.qk_dim] * 2 + [full.num_heads * full.v_dim])
            parts = [
                p.unflatten(0, (full.num_heads, -1))[: spec.num_heads, :width].flatten(0, 1)
                for p, width in ((q, spec.qk_dim), (k, spec.qk_dim), (v, spec.v_dim))
            ]
            return torch.cat(parts)
        if name == "attn.proj.weight":
            return value.unflatten(1, (full.num_heads, -1))[:, : spec.num_heads, : spec.v_dim].flatten(1)
        if name.startswith("mlp.fc1"):
            return value[: spec.mlp_width]
        if name == "mlp.fc2.weight":
            return value[:, : spec.mlp_width]
        return value


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    model = PlainViT(BASE).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def scorer(teacher):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return TeacherScorer(teacher, SplitTensors(images, torch.arange(40) % 4), Preprocess(img_size=16), num_images=24)


@pytest.fixture(scope="module")
def space():
    return space_from_base(BASE, mlp_steps=4, dim_steps=2)


def test_every_row_changes_one_block_of_the_base(space):
    archs = library_archs(space)
    assert len(archs) == len(set(archs))
    for arch in archs:
        assert space.contains(arch)
        assert sum(a != b for a, b in zip(arch.blocks, BASE.blocks, strict=True)) == 1
    first = {arch.blocks[0] for arch in archs}
    for spec in (BlockSpec(0, 0, 0, 0), BlockSpec(0, 0, 0, 64), BlockSpec(2, 16, 16, 0), BlockSpec(1, 16, 16, 64)):
        assert spec in first
    assert BlockSpec(2, 8, 16, 64) in first
    assert BlockSpec(2, 16, 8, 64) in first


@pytest.mark.parametrize("touch_stem", [False, True])
def test_reusing_the_stream_changes_no_score(space, teacher, scorer, touch_stem):
    deriver = SlicingDeriver(teacher, touch_stem=touch_stem)
    library = build_library(space, deriver=deriver, scorer=scorer, teacher=teacher)
    assert library.archs == library_archs(space)
    for row in library.rows:
        whole = scorer.score(deriver.derive(row.arch))
        assert row.score.kl == pytest.approx(whole.kl, rel=1e-4, abs=1e-7)
        assert row.score.num_images == whole.num_images == 24


def test_blocks_before_the_change_are_not_run_again(space, teacher, scorer, monkeypatch):
    calls = []
    for i, block in enumerate(teacher.blocks):
        monkeypatch.setattr(block, "forward", _counted(block.forward, calls, i))
    build_library(space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher)
    assert calls == [0, 1]  # the teacher's stream is moved forward once, block by block


def test_streams_are_found_again_after_going_back(teacher, scorer):
    streams = _Streams(teacher, scorer.inputs)
    deriver = SlicingDeriver(teacher)
    for i in (2, 1, 2, 0, 2, 0):
        blocks = [BlockSpec(2, 16, 16, 32) if k == i else full for k, full in enumerate(BASE.blocks)]
        model = deriver.derive(dataclasses.replace(BASE, blocks=tuple(blocks)))
        with torch.inference_mode():
            assert torch.allclose(streams.run(model), model(scorer.inputs), atol=1e-5)


def _counted(forward, calls, i):
    def run(x):
        calls.append(i)
        return forward(x)

    return run


def test_a_stopped_library_is_short_and_usable(space, teacher, scorer):
    seen = []
    library = build_library(
        space, deriver=SlicingDeriver(teacher), scorer=scorer, teacher=teacher,
        on_row=lambda done, total: seen.append((done, total)), should_stop=lambda: len(seen) >= 4,
    )  # fmt: skip
    assert len(library.rows) == 4
    assert seen[-1] == (4, len(library_archs(space)))
