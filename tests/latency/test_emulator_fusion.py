"""Kernel counts of hand-made graphs: what TensorRT 8.2 fuses on Maxwell and what it does not."""

from collections import Counter

import onnx
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.emulator.fusion import kernels_from_graph
from nuwa_search.latency.emulator.fusion_rules import PLAIN_RULES, FusionRules
from nuwa_search.latency.emulator.graph import graph_from_model
from nuwa_search.latency.emulator.kernels import AttentionWork, ConvWork, Kernel, MatmulWork, StreamWork
from tests.support.onnx_graphs import GraphWriter, conv_model, qdq_model, vit_model


def kernels(model: onnx.ModelProto, rules: FusionRules = PLAIN_RULES) -> tuple[Kernel, ...]:
    return kernels_from_graph(graph_from_model(model), rules)


def kinds(model: onnx.ModelProto, rules: FusionRules = PLAIN_RULES) -> list[str]:
    return [k.kind for k in kernels(model, rules)]


NEW_RULES = FusionRules(attention=True, norms=True, conv_activations=True)


def test_conv_batch_norm_relu_is_one_kernel() -> None:
    w = GraphWriter((1, 8, 14, 14))
    assert kinds(w.model(w.add("Relu", w.batch_norm(w.conv("x", (8, 16)), 16)))) == ["conv"]


def test_conv_takes_in_the_residual_sum_and_its_relu() -> None:
    w = GraphWriter((1, 8, 14, 14))
    y = w.conv(w.add("Relu", w.conv("x", (8, 8))), (8, 8))
    found = kernels(w.model(w.add("Relu", w.add("Add", y, "x"))))
    assert [k.kind for k in found] == ["conv", "conv"]
    assert found[1].work.reads == 2 * 8 * 14 * 14  # its input and the residual


def test_depthwise_conv_leaves_the_residual_sum_outside() -> None:
    w = GraphWriter((1, 8, 14, 14))
    assert kinds(w.model(w.add("Add", w.conv("x", (8, 8), group=8), "x"))) == ["depthwise_conv", "pointwise"]


def test_smooth_activation_is_a_kernel_after_the_convolution() -> None:
    w = GraphWriter((1, 8, 14, 14))
    y = w.conv("x", (8, 8))
    assert kinds(w.model(w.add("Mul", y, w.add("Sigmoid", y)))) == ["conv", "pointwise"]


def test_erf_gelu_is_one_kernel() -> None:
    w = GraphWriter((1, 197, 64))
    (kernel,) = kernels(w.model(w.gelu("x")))
    assert isinstance(kernel.work, StreamWork)
    assert (kernel.kind, kernel.work.reads, kernel.work.writes) == ("pointwise", 197 * 64, 197 * 64)


def test_layer_norm_is_two_reductions_and_four_pointwise_kernels() -> None:
    # x - mean and the division by the deviation broadcast a row's statistic over the row: no chain takes them in
    w = GraphWriter((1, 197, 64))
    found = Counter(kinds(w.model(w.layer_norm("x", 64))))
    assert found == {"reduce": 2, "pointwise": 4}


def test_newer_layer_norm_costs_what_its_decomposition_costs() -> None:
    w = GraphWriter((1, 197, 64), opset=17)
    node = w.model(w.add("LayerNormalization", "x", w.weight(64), w.weight(64), axis=-1))
    by_hand = GraphWriter((1, 197, 64))
    decomposed = by_hand.model(by_hand.layer_norm("x", 64))
    assert Counter(k.work for k in kernels(node)) == Counter(k.work for k in kernels(decomposed))


def test_linear_and_bias_are_one_kernel() -> None:
    w = GraphWriter((1, 197, 64))
    (kernel,) = kernels(w.model(w.linear("x", (64, 96))))
    assert kernel.work == MatmulWork(batch=1, m=197, n=96, k=64, num_weights=64 * 96, reads=197 * 64, writes=197 * 96)


def test_kernels_of_a_vit_block() -> None:
    found = Counter(kinds(vit_model(depth=1)))
    assert found == {
        "matmul": 8,  # q, k, v, scores, values, projection, two of the MLP
        "reduce": 4,
        "softmax": 1,
        "shuffle": 4,  # q, k, v to heads, and back
        "pointwise": 2 * 4 + 4,  # two norms; scale of the scores, GELU, two sums
    }


def test_reshape_identity_and_cast_are_free() -> None:
    w = GraphWriter((1, 4, 6))
    y = w.add("Identity", w.add("Reshape", w.add("Relu", "x"), w.ints(1, 24)))
    assert kinds(w.model(w.add("Cast", y, to=1))) == ["pointwise"]


def test_two_transposes_are_one_shuffle_and_unit_axes_move_nothing() -> None:
    w = GraphWriter((1, 4, 6))
    twice = w.add("Transpose", w.add("Transpose", "x", perm=[0, 2, 1]), perm=[2, 1, 0])
    assert kinds(w.model(twice)) == ["shuffle"]
    w = GraphWriter((1, 4, 6))
    assert kinds(w.model(w.add("Relu", w.add("Transpose", "x", perm=[1, 0, 2])))) == ["pointwise"]


def test_concat_copies_only_what_lies_elsewhere_already() -> None:
    w = GraphWriter((1, 8, 14, 14))
    a, b = w.add("Relu", w.conv("x", (8, 8))), w.add("Relu", w.conv("x", (8, 8)))
    first = w.add("Concat", a, b, axis=1)
    second = w.add("Concat", a, w.conv(first, (16, 8)), axis=1)
    found = kernels(w.model(second))
    assert [k.kind for k in found] == ["conv", "conv", "conv", "copy"]
    assert found[-1].work.writes == 8 * 14 * 14  # only ``a``, which lies in the first buffer


def test_shape_arithmetic_is_folded_away() -> None:
    w = GraphWriter((1, 4, 6, 6))
    dims = w.add("Gather", w.add("Shape", "x"), w.ints(1), axis=0)
    target = w.add("Concat", w.ints(1), dims, w.ints(-1), axis=0)
    assert kinds(w.model(w.add("Relu", w.add("Reshape", "x", target)))) == ["pointwise"]


@pytest.mark.parametrize(("kernel", "group", "macs"), [(3, 1, 8 * 16 * 9), (1, 1, 8 * 16), (3, 8, 16 * 9)])
def test_multiply_accumulates_of_a_convolution(kernel: int, group: int, macs: int) -> None:
    (found,) = kernels(conv_model((8, 16), size=10, kernel=kernel, group=group))
    assert isinstance(found.work, ConvWork)
    assert found.work.macs == macs * 100


def test_dynamic_shapes_are_refused() -> None:
    w = GraphWriter(("batch", 8))
    with pytest.raises(NuwaError, match="static shape"):
        kernels(w.model(w.add("Relu", "x")))


def test_sizes_that_hang_on_data_are_refused() -> None:
    w = GraphWriter((1, 8))
    with pytest.raises(NuwaError, match="cannot be told"):
        kernels(w.model(w.add("NonZero", "x")))


def test_unknown_operators_are_refused_by_name() -> None:
    w = GraphWriter((1, 1, 8))
    with pytest.raises(NuwaError, match="Hardmax"):
        kernels(w.model(w.add("Hardmax", "x")))


def test_foreign_domains_are_refused_by_name() -> None:
    w = GraphWriter((1, 8))
    with pytest.raises(NuwaError, match=r"com\.example::Mystery"):
        kernels(w.model(w.add("Mystery", "x", domain="com.example")))


def test_newer_releases_have_one_kernel_for_attention_and_one_for_a_norm() -> None:
    found = kernels(vit_model(depth=1), NEW_RULES)
    assert Counter(k.kind for k in found) == {"matmul": 6, "attention": 1, "norm": 2, "pointwise": 3}
    (attention,) = [k.work for k in found if k.kind == "attention"]
    size = 197 * 192
    assert attention == AttentionWork(batch=3, queries=197, keys=197, qk_dim=64, v_dim=64, reads=3 * size, writes=size)
    assert attention.macs == 2 * 3 * 197 * 197 * 64
    norm = next(k.work for k in found if k.kind == "norm")
    assert (norm.reads, norm.writes) == (size, size)


def test_a_norm_is_the_same_kernel_from_one_operator_and_from_primitives() -> None:
    w = GraphWriter((1, 197, 64), opset=17)
    node = w.model(w.add("LayerNormalization", "x", w.weight(64), w.weight(64), axis=-1))
    by_hand = GraphWriter((1, 197, 64))
    decomposed = by_hand.model(by_hand.layer_norm("x", 64))
    assert [k.work for k in kernels(node, NEW_RULES)] == [k.work for k in kernels(decomposed, NEW_RULES)]


def test_attention_whose_scores_are_read_elsewhere_stays_in_parts() -> None:
    w = GraphWriter((1, 3, 16, 8))
    scores = w.add("Softmax", w.add("MatMul", "x", w.add("Transpose", "x", perm=[0, 1, 3, 2])), axis=-1)
    model = w.model(w.add("MatMul", scores, "x"), scores)
    assert "attention" not in kinds(model, NEW_RULES)


def test_q_k_and_v_cut_out_of_one_tensor_are_read_where_they_lie() -> None:
    w = GraphWriter((1, 16, 24))
    joint = w.linear("x", (24, 72))
    parts = w.add("Transpose", w.add("Reshape", joint, w.ints(1, 16, 3, 3, 8)), perm=[2, 0, 3, 1, 4])
    q, k, v = (w.add("Squeeze", p, w.ints(0)) for p in w.split("Split", parts, num_outputs=3, axis=0))
    scores = w.add("MatMul", q, w.add("Transpose", k, perm=[0, 1, 3, 2]))
    out = w.add("MatMul", w.add("Softmax", scores, axis=-1), v)
    assert kinds(w.model(w.add("Relu", out)), NEW_RULES) == ["matmul", "attention", "pointwise"]


def test_newer_convolutions_take_in_any_activation() -> None:
    w = GraphWriter((1, 8, 14, 14))
    y = w.conv("x", (8, 8))
    model = w.model(w.add("Mul", y, w.add("Sigmoid", y)))
    assert kinds(model, NEW_RULES) == ["conv"]
    z = GraphWriter((1, 8, 14, 14))
    y = z.conv("x", (8, 8))
    both = z.model(z.add("Mul", y, z.add("Sigmoid", y)), y)
    assert kinds(both, NEW_RULES) == ["conv", "pointwise"]  # the convolution's own output leaves the graph


def test_products_behind_quantisers_are_int8_and_move_one_byte_an_element() -> None:
    found = [k.work for k in kernels(qdq_model())]
    size = 256 * 28 * 28
    assert all(isinstance(work, ConvWork) and work.is_int8 for work in found)
    assert [work.int8_moved for work in found] == [2 * size, 2 * size, 2 * size, size]  # the last output is FP16
    assert not any(k.work.int8_moved for k in kernels(qdq_model(is_quantised=False)))


def test_a_tensor_is_copied_once_where_packed_and_plain_layouts_meet() -> None:
    w = GraphWriter((1, 8, 14, 14))
    y = w.add("Relu", w.conv("x", (8, 8)))
    rows = w.add("Transpose", w.add("Reshape", y, w.ints(1, 8, 196)), perm=[0, 2, 1])
    model = w.model(w.linear(rows, (8, 8)), w.add("ReduceMean", y, axes=[1]))
    plain = kinds(model)
    packed = kernels(model, FusionRules(reformats=True))
    # what the convolution wrote, once for both that read rows of it; the image is converted by the convolution
    assert [k.kind for k in packed if "Reformatting" not in k.name] == plain
    copies = [k.work for k in packed if "Reformatting" in k.name]
    assert [(c.reads, c.writes) for c in copies] == [(8 * 196, 8 * 196)]
