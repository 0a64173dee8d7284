"""Computing elsewhere than on the CPU, as far as a machine without a GPU can show it."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nuwa_search.core.accelerator import CPU, pick_device, run_in_parts, with_less_at_once
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.heads import features_of
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive import statistics
from nuwa_search.search.derive.sensitivity import indifferent
from nuwa_search.search.derive.statistics import collect_moments
from nuwa_search.search.streams import Streams
from tests.support.derive_models import PREPROCESS, make_model

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_cuda_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(NuwaError, match="no CUDA device here"):
        pick_device("cuda")


def test_batches_are_halved_until_there_is_memory_and_every_input_passes_once() -> None:
    sizes: list[int] = []

    def run(part: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        if len(part) > 3:
            raise torch.OutOfMemoryError("as a GPU says it")
        return part * 2

    assert torch.equal(run_in_parts(run, torch.arange(10), 8), torch.arange(10) * 2)
    assert sizes == [8, 4, 2, 2, 2, 2, 2]


def test_where_one_alone_is_too_much_the_error_is_told() -> None:
    def run(part: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("as a GPU says it")

    with pytest.raises(torch.OutOfMemoryError):
        run_in_parts(run, torch.arange(4), 2)


def test_what_adds_up_begins_again_with_half_as_much() -> None:
    tried: list[int] = []

    def run(at_once: int) -> int:
        tried.append(at_once)
        if at_once > 4:
            raise torch.OutOfMemoryError("as a GPU says it")
        return at_once

    assert with_less_at_once(run, 16) == 4
    assert tried == [16, 8, 4]


def test_statistics_in_halves_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("token")
    split = SplitTensors(images(12), torch.zeros(12, dtype=torch.int64))
    tokens = indifferent(model).tokens
    whole = collect_moments(model, split, PREPROCESS, token_weights=tokens, reach=1)
    add, limit = statistics._Sums.add, 5

    def small(self: statistics._Sums, x: torch.Tensor, *more: object) -> None:
        if len(x) > limit:
            raise torch.OutOfMemoryError("as a GPU says it")
        add(self, x, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(statistics._Sums, "add", small)
    halved = collect_moments(model, split, PREPROCESS, token_weights=tokens, reach=1)
    assert halved.num_images == 12
    torch.testing.assert_close(halved.stream, whole.stream)
    for index, mine in whole.branches.items():
        torch.testing.assert_close(halved.branches[index].gram, mine.gram)


class TestTensorsGoWhereTheNetLies:
    """torch's fake tensors know their device without a GPU, and refuse to mix two."""

    def test_logits_and_features_come_back_to_the_images(self) -> None:
        arch = make_model("token").arch
        with FakeTensorMode(allow_non_fake_inputs=True):
            with torch.device("cuda"):
                net = PlainViT(arch).eval()
            assert net.head.weight.device.type == "cuda"
            with pytest.raises(Exception, match="cuda"):
                net(torch.zeros(2, 3, 16, 16))
            assert logits_of(net, images(5), PREPROCESS).device == CPU
            assert features_of(net, images(5), PREPROCESS).device == CPU

    @torch.inference_mode()
    def test_logits_of_neighbours_come_back_to_the_cpu(self) -> None:
        arch = make_model("token").arch
        with FakeTensorMode(allow_non_fake_inputs=True):
            with torch.device("cuda"):
                net = PlainViT(arch).eval()
                inputs = torch.zeros(2, 3, 16, 16)
            streams = Streams(net, inputs)
            assert streams.logits.device == CPU


@pytest.mark.gpu
@needs_gpu
class TestOnAGpu:
    def test_statistics_are_those_of_the_cpu(self) -> None:
        model = make_model("token")
        split = SplitTensors(images(40), torch.zeros(40, dtype=torch.int64))
        tokens = indifferent(model).tokens
        here = collect_moments(model, split, PREPROCESS, token_weights=tokens, reach=1)
        there = collect_moments(model.to("cuda"), split, PREPROCESS, token_weights=tokens, reach=1)
        torch.testing.assert_close(there.stream.cpu(), here.stream, rtol=1e-4, atol=1e-5)
        for index, mine in here.branches.items():
            torch.testing.assert_close(there.branches[index].gram.cpu(), mine.gram, rtol=1e-4, atol=1e-4)
