"""Laws that the time model keeps whatever its fitted constants are."""

import dataclasses
import itertools

import onnx
import pytest

from nuwa_search.core.device import Precision
from nuwa_search.latency.emulator.boards import BOARDS, JETSON_NANO, JETSON_NANO_5W, Board
from nuwa_search.latency.emulator.constants import CONSTANT_NAMES, load_calibration
from nuwa_search.latency.emulator.gemm import gemm_ms
from nuwa_search.latency.emulator.timeline import emulate
from tests.support.onnx_graphs import GraphWriter, conv_model, vit_model

CONSTANTS = load_calibration().fits["maxwell"].constants


def ms(model: onnx.ModelProto, board: Board = JETSON_NANO, precision: Precision = "fp16") -> float:
    return emulate(model, board, precision=precision).total_ms


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
def test_breakdown_adds_up(board: Board, precision: Precision) -> None:
    timeline = emulate(vit_model(depth=2), board, precision=precision, transfers=True)
    assert sum(k.ms for k in timeline.kernels) == pytest.approx(timeline.total_ms, rel=1e-12)
    assert min(k.ms for k in timeline.kernels) > 0


def test_at_most_fifteen_constants_are_fitted() -> None:
    assert len(CONSTANT_NAMES) <= 15


@pytest.mark.parametrize(
    ("kernel", "group"), [(1, 1), (3, 1), (5, 1), (3, 4)], ids=["1x1", "winograd", "5x5", "grouped"]
)
def test_more_channels_are_never_faster(kernel: int, group: int) -> None:
    times = [ms(conv_model((64, width), kernel=kernel, group=group)) for width in range(8, 264, 8)]
    assert times == sorted(times)


def test_more_depthwise_channels_are_slower() -> None:
    times = [ms(conv_model((width, width), group=width)) for width in range(8, 264, 8)]
    assert times == sorted(times)


def test_more_pixels_are_never_faster() -> None:
    times = [ms(conv_model((32, 32), size=size)) for size in range(4, 60)]
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["tokens", "heads", "head_dim", "mlp_width"])
def test_wider_vit_blocks_are_never_faster(name: str) -> None:
    step = 1 if name == "heads" else 8
    times = [ms(vit_model(**{name: width})) for width in range(step, 13 * step, step)]
    assert times == sorted(times)


@pytest.mark.parametrize("model", [vit_model(depth=3), conv_model(depth=3), conv_model((64, 64), group=64)])
def test_fp16_is_never_slower_than_fp32(model: onnx.ModelProto) -> None:
    for board in BOARDS.values():
        assert ms(model, board, "fp16") <= ms(model, board, "fp32")


def test_fp16_gains_nearly_two_where_compute_bound_and_nothing_where_launch_bound() -> None:
    heavy = conv_model((512, 512), size=56, kernel=1, depth=4)
    assert 1.9 < ms(heavy, precision="fp32") / ms(heavy) <= 2.0
    light = vit_model(tokens=4, heads=1, head_dim=8, mlp_width=8, depth=6)
    assert ms(light, precision="fp32") / ms(light) == pytest.approx(1.0, abs=0.02)


def test_5w_is_slower_by_the_clock_ratio_that_binds() -> None:
    heavy = conv_model((512, 512), size=56, kernel=1, depth=4)
    assert ms(heavy, JETSON_NANO_5W) / ms(heavy) == pytest.approx(1.5, rel=0.01)
    light = vit_model(tokens=4, heads=1, head_dim=8, mlp_width=8, depth=6)
    assert ms(light, JETSON_NANO_5W) / ms(light) == pytest.approx(1.6, rel=0.01)


def test_a_removed_block_is_faster() -> None:
    times = [ms(vit_model(depth=depth)) for depth in range(1, 6)]
    assert all(after - before > 0.1 for before, after in itertools.pairwise(times))


def test_launches_bound_small_nets() -> None:
    timeline = emulate(vit_model(tokens=4, heads=1, head_dim=8, mlp_width=8, depth=6), JETSON_NANO, precision="fp16")
    launches_ms = len(timeline.kernels) * CONSTANTS.launch_us / 1e3
    assert timeline.total_ms >= launches_ms
    assert timeline.total_ms == pytest.approx(launches_ms, rel=0.01)
    assert timeline.num_launch_bound == len(timeline.kernels)


def test_a_product_is_a_staircase_of_tiles() -> None:
    def product(n: int) -> float:
        return gemm_ms(256, n, 192, batch=1, share=1.0, macs_per_ms=1e8, board=JETSON_NANO, constants=CONSTANTS)

    assert len({product(n) for n in range(1, 33)}) == 1  # one tile of 32 columns
    assert product(33) > product(32)
    assert product(128) < 4 * product(32)  # larger tiles read their operands less often


def test_a_product_never_beats_the_peak() -> None:
    for m, n, k in ((197, 192, 192), (64, 64, 64), (1024, 1024, 1024), (33, 129, 7)):
        spent = gemm_ms(m, n, k, batch=3, share=1.0, macs_per_ms=1e8, board=JETSON_NANO, constants=CONSTANTS)
        assert spent >= 3 * m * n * k / 1e8


def test_vector_products_take_the_time_of_their_weights() -> None:
    w = GraphWriter((1, 4096))
    spent = ms(w.model(w.add("Gemm", "x", w.weight(4096, 4096), w.weight(4096))))
    weight_bytes = 2 * 4096 * 4096
    bytes_per_ms = 25.6e6 * CONSTANTS.dram_share * CONSTANTS.gemv_share
    assert spent == pytest.approx(
        weight_bytes / bytes_per_ms + (CONSTANTS.kernel_us + CONSTANTS.launch_us) / 1e3, rel=0.001
    )


def test_every_constant_slows_or_speeds_something() -> None:
    models = [vit_model(), conv_model(), conv_model(kernel=1), conv_model(group=4), conv_model(group=64)]
    w = GraphWriter((1, 4096))
    models.append(w.model(w.linear("x", (4096, 4096))))
    for name in CONSTANT_NAMES:
        changed = dataclasses.replace(CONSTANTS, **{name: getattr(CONSTANTS, name) * 0.7})
        assert any(
            emulate(m, JETSON_NANO, precision="fp32", constants=changed).total_ms != ms(m, precision="fp32")
            for m in models
        ), name
