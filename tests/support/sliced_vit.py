"""A tiny ViT and a derivation that slices it: blocks that are not cut keep their very tensors."""

import copy

import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.scorer import TeacherScorer

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

    def _cut(self, value: torch.Tensor, name: str, spec: BlockSpec, full: BlockSpec) -> torch.Tensor:
        if name.startswith("attn.qkv"):
            q, k, v = value.split([full.num_heads * full.qk_dim] * 2 + [full.num_heads * full.v_dim])
            parts = [
                p.unflatten(0, (full.num_heads, -1))[: spec.num_heads, :width].flatten(0, 1)
                for p, width in ((q, spec.qk_dim), (k, spec.qk_dim), (v, spec.v_dim))
            ]
            return torch.cat(parts)
        if name == "attn.proj.weight":
            by_head: torch.Tensor = value.unflatten(1, (full.num_heads, -1))
            return by_head[:, : spec.num_heads, : spec.v_dim].flatten(1)
        if name.startswith("mlp.fc1"):
            return value[: spec.mlp_width]
        if name == "mlp.fc2.weight":
            return value[:, : spec.mlp_width]
        return value


def make_teacher() -> PlainViT:
    torch.manual_seed(0)
    model = PlainViT(BASE).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def make_scorer(teacher: PlainViT) -> TeacherScorer:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return TeacherScorer(teacher, SplitTensors(images, torch.arange(40) % 4), Preprocess(img_size=16), num_images=24)
