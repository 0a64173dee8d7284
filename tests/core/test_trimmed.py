"""Of the last block that attends only what the head reads is computed; the logits are those of the whole stream."""

import pytest
import torch

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.logits import run_trimmed
from nuwa_search.core.vit import PlainViT
from tests.support.derive_models import FAMILIES, make_model, with_block

INPUTS = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_whole_stream(family: str) -> None:
    net = make_model(family)
    with torch.no_grad():
        torch.testing.assert_close(run_trimmed(net, INPUTS), net(INPUTS))
        assert net.forward_trimmed(INPUTS).shape[1] == net.arch.pooled_tokens[1]


@pytest.mark.parametrize(("family", "count"), [("token", 1), ("registers", 1), ("distilled", 2)])
def test_prefix_tokens_alone_leave_the_last_block(family: str, count: int) -> None:
    assert make_model(family).arch.pooled_tokens == (0, count)


@pytest.mark.parametrize("family", ["avg", "token_avg"])
def test_heads_that_read_patches_get_all_tokens(family: str) -> None:
    net = make_model(family)
    with torch.no_grad():
        assert torch.equal(net.forward_trimmed(INPUTS), net.forward_features(INPUTS))


@pytest.mark.parametrize("attending", [0, 1])
def test_blocks_without_attention_behind_it_see_the_read_tokens_only(attending: int) -> None:
    """Also where no block attends at all."""
    whole = make_model("token")
    arch = whole.arch
    for index in range(attending, len(arch.blocks)):
        arch = with_block(arch, index, BlockSpec(0, 0, 0, arch.blocks[index].mlp_width))
    torch.manual_seed(0)
    net = PlainViT(arch).eval()
    seen: list[int] = []
    for block in list(net.blocks)[attending:]:
        block.get_submodule("mlp").register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    with torch.no_grad():
        trimmed = run_trimmed(net, INPUTS)
    assert seen == [1] * (len(arch.blocks) - attending)
    with torch.no_grad():
        torch.testing.assert_close(trimmed, net(INPUTS))


def test_gradients_are_those_of_the_whole_stream() -> None:
    net = make_model("rotary")
    found = []
    for run in (net, lambda x: run_trimmed(net, x)):
        net.zero_grad()
        run(INPUTS).square().sum().backward()
        found.append({name: value.grad.clone() for name, value in net.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, wanted in found[0].items():
        torch.testing.assert_close(found[1][name], wanted, msg=name)


def test_nets_that_answer_in_their_own_way_are_called() -> None:
    class Halved(PlainViT):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / 2

    torch.manual_seed(0)
    net = Halved(make_model("token").arch).eval()
    with torch.no_grad():
        assert torch.equal(run_trimmed(net, INPUTS), net(INPUTS))
