"""The closed forms against brute force, and their conditioning."""

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from nuwa_search.core.arch import EMPTY_BLOCK, BlockSpec
from nuwa_search.core.cache import Cache
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.even_choice import spread_evenly
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.derive.attention import factorise, head_weights
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.forward import Branch, branches_of, with_one
from nuwa_search.search.derive.neurons import surgeon_order
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.placement import place_blocks
from nuwa_search.search.derive.rotation import narrow
from tests.support.derive_models import PREPROCESS, make_model, make_split, with_block, with_blocks
from tests.support.vit_parts import attention_of, block_of, mlp_of

FAST = DeriveOptions(num_images=60, sensitivity_images=0)
TIGHT = dataclasses.replace(FAST, ridge=1e-9)


def deriver_of(
    model: PlainViT, *, split: SplitTensors | None = None, options: DeriveOptions = FAST, cache: Cache | None = None
) -> Deriver:
    return Deriver(model, split or make_split(), PREPROCESS, options=options, cache=cache)


@torch.no_grad()
def watched(model: PlainViT, images: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Regressors (with the constant) and outputs of branch ``index`` over ``images``, float64 rows."""
    x = model.embed(normalise(images, PREPROCESS))
    for branch in branches_of(model):
        read = branch.regressors(x)
        out = branch.writer(read)
        if branch.index == index:
            return with_one(read).flatten(0, 1).double(), out.flatten(0, 1).double()
        x = x + out
    raise AssertionError(index)


def test_dropped_energy_is_the_squared_error_of_the_product() -> None:
    weights = head_weights(attention_of(make_model("avg"), 1))
    factors = factorise(weights, None)
    qk = weights.query.mT @ weights.key
    vo = torch.einsum("chv,hvd->hcd", weights.out, weights.value)
    for rank in range(1, 8):
        product = (factors.query[:, :rank] @ weights.query).mT @ (factors.key[:, :rank] @ weights.key)
        torch.testing.assert_close((qk - product).square().sum((1, 2)), factors.qk_energy[:, rank:].sum(1))
        value = factors.value[:, :rank] @ weights.value
        product = torch.einsum("chv,hvd->hcd", factors.out[..., :rank], value)
        torch.testing.assert_close((vo - product).square().sum((1, 2)), factors.vo_energy[:, rank:].sum(1))


def test_singular_values_are_those_of_the_full_product() -> None:
    weights = head_weights(attention_of(make_model("token"), 0))
    factors = factorise(weights, None)
    direct = torch.linalg.svdvals(weights.query[0].T @ weights.key[0])[:8]
    torch.testing.assert_close(factors.qk_energy[0].sqrt(), direct)


def test_data_basis_beats_weights_on_the_attention_logits() -> None:
    model, split = make_model("token"), make_split(200)
    errors = {}
    for basis in ("data", "weights", "none"):
        plan = deriver_of(model, split=split, options=dataclasses.replace(FAST, svd=basis, num_images=200)).prepare()
        factors, block = plan.attention[2].factors, block_of(model, 1)
        assert block.norm1 is not None
        held_out = make_split(100, seed=9)
        x = model.blocks[0](model.embed(normalise(held_out.images, PREPROCESS)))
        q, k, _ = (part.detach().double() for part in attention_of(model, 1).project_qkv(block.norm1(x)))
        k = k - k.mean(dim=2, keepdim=True)
        cut = (q @ factors.query[:, :3].mT) @ (k @ factors.key[:, :3].mT).mT
        errors[basis] = float((q @ k.mT - cut).square().mean())
    assert errors["data"] < errors["weights"] < errors["none"]


def test_gram_form_equals_the_pseudo_inverse() -> None:
    model, split = make_model("avg"), make_split()
    plan = deriver_of(model, split=split, options=TIGHT).prepare()
    rows, outputs = watched(model, split.images, 3)
    kept = plan.neurons[3].order[:20]
    weight, bias = plan.neurons[3].solve(20)
    places = torch.cat([kept, torch.tensor([rows.shape[1] - 1])])
    expected = torch.linalg.pinv(rows[:, places]) @ outputs
    torch.testing.assert_close(weight, expected[:-1].T, rtol=2e-2, atol=2e-3)
    torch.testing.assert_close(bias, expected[-1], rtol=2e-2, atol=2e-2)
    residual = (outputs - rows[:, places] @ torch.cat([weight.T, bias[None]])).square().sum(1).mean()
    best = (outputs - rows[:, places] @ expected).square().sum(1).mean()
    assert float(residual) == pytest.approx(float(best), rel=1e-3)
    assert plan.neurons[3].lost(20) == pytest.approx(float(best), rel=1e-2)


@pytest.mark.parametrize("seed", [1, 7])  # 1: the images of the statistics, 7: others
@pytest.mark.parametrize("index", [2, 3])
def test_least_squares_beats_deletion(index: int, seed: int) -> None:
    model, split = make_model("avg"), make_split(300)
    spec = BlockSpec(2, 8, 4, 24)
    arch = with_block(model.arch, 1, spec)
    errors = []
    for least_squares in (True, False):
        options = dataclasses.replace(FAST, least_squares=least_squares, num_images=300)
        cut = deriver_of(model, split=split, options=options).derive(arch)
        images = make_split(100, seed=seed).images
        _, wanted = watched(model, images, index)
        x = model.blocks[0](model.embed(normalise(images, PREPROCESS)))
        with torch.no_grad():
            block, whole = block_of(cut, 1), block_of(model, 1)
            assert block.norm1 is not None
            assert block.norm2 is not None
            assert whole.norm1 is not None
            if index == 2:
                got = attention_of(cut, 1)(block.norm1(x))
            else:
                x = x + attention_of(model, 1)(whole.norm1(x))
                got = mlp_of(cut, 1)(block.norm2(x))
        errors.append(float((got.flatten(0, 1).double() - wanted).square().mean()))
    assert errors[0] < errors[1]


def test_surgeon_removes_by_the_exact_rise_of_the_residual() -> None:
    torch.manual_seed(0)
    rows = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    rows = torch.cat([rows, torch.ones(200, 1, dtype=torch.float64)], dim=1)
    weight = torch.randn(4, 6, dtype=torch.float64)
    target = rows[:, :-1] @ weight.T
    left, expected = list(range(6)), []
    while left:

        def rise(out: int, left: list[int] = left) -> float:
            keep = [k for k in left if k != out] + [6]
            fit = rows[:, keep] @ torch.linalg.lstsq(rows[:, keep], target).solution
            return float((target - fit).square().sum())

        worst = min(left, key=rise)
        left.remove(worst)
        expected.append(worst)
    order = surgeon_order(rows.T @ rows / 200, weight, step=1)
    assert order.tolist() == expected[::-1]


def test_removed_branches_are_made_up_for() -> None:
    model, split = make_model("avg"), make_split(300)
    images = normalise(make_split(100, seed=5).images, PREPROCESS)
    archs = [
        with_block(model.arch, 1, EMPTY_BLOCK),
        with_block(model.arch, 0, BlockSpec(0, 0, 0, 48)),
        with_block(model.arch, 2, BlockSpec(3, 8, 8, 0)),
    ]
    for arch in archs:
        errors = []
        for correct in (True, False):
            options = dataclasses.replace(FAST, depth_correction=correct, num_images=300)
            cut = deriver_of(model, split=split, options=options).derive(arch)
            with torch.no_grad():
                errors.append(float((cut(images) - model(images)).square().mean()))
        assert errors[0] < errors[1]


def test_token_gone_before_first_writer_is_folded_into_positions() -> None:
    model = make_model("token")
    arch = dataclasses.replace(model.arch, blocks=(EMPTY_BLOCK, *model.arch.blocks[1:]))
    deriver = deriver_of(model)
    cut = deriver.derive(arch)
    moments = deriver.prepare().moments.branches
    means = moments[0].output + moments[1].output
    torch.testing.assert_close(cut.prefix_tokens - model.prefix_tokens, means[None, :1])
    torch.testing.assert_close(cut.pos_embed - model.pos_embed, means[None, 1:])


def test_ill_conditioned_statistics_still_give_finite_nets() -> None:
    model = make_model("token")
    with torch.no_grad():
        mlp = mlp_of(model, 1)
        mlp.fc1.weight[:8] = 0  # constant neurons
        mlp.fc1.weight[8:16] = mlp.fc1.weight[16:24]  # twins
        mlp.fc1.bias[8:16] = mlp.fc1.bias[16:24]
        mlp.fc1.bias[24:30] = -1e4  # dead ones
        attention_of(model, 1).qkv.weight[:8] = 0  # a head whose query is constant
        attention_of(model, 1).qkv.bias[:8] = 0
    arch = with_blocks(model.arch, num_heads=2, qk_dim=5, v_dim=3, mlp_width=40)
    one_per_class = make_split(5)
    cut = deriver_of(model, split=one_per_class, options=TIGHT).derive(arch)
    images = normalise(make_split(20, seed=3).images, PREPROCESS)
    with torch.no_grad():
        assert torch.isfinite(cut(images)).all()
        exact = deriver_of(model, split=one_per_class).derive(model.arch)
        assert float((exact(images) - model(images)).abs().max()) < 1e-4
        # the 8 constant neurons, 8 twins and 6 dead ones are the free ones to drop
        free = deriver_of(model, options=TIGHT).derive(
            with_block(model.arch, 1, dataclasses.replace(model.arch.blocks[1], mlp_width=26))
        )
        assert float((free(images) - model(images)).abs().max()) < 0.05


def test_activations_that_are_not_finite_are_refused() -> None:
    model = make_model("token")
    with torch.no_grad():
        mlp_of(model, 0).fc1.bias[0] = float("nan")
    with pytest.raises(NuwaError, match="not finite"):
        deriver_of(model).derive(with_blocks(model.arch, mlp_width=16))


def test_caches_are_reused_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = make_model("avg"), Cache(tmp_path)
    arch = with_blocks(model.arch, num_heads=2, qk_dim=4, v_dim=4, mlp_width=16)
    options = DeriveOptions(num_images=60, sensitivity_images=20)
    plain = deriver_of(model, options=options).derive(arch).state_dict()
    first = deriver_of(model, options=options, cache=cache).derive(arch).state_dict()
    monkeypatch.setattr("nuwa_search.search.derive.plan.collect_moments", None)  # calling it now would fail
    monkeypatch.setattr("nuwa_search.search.derive.plan.collect_sensitivity", None)
    second = deriver_of(model, options=options, cache=cache).derive(arch).state_dict()
    for name in plain:
        assert torch.equal(plain[name], first[name])
        assert torch.equal(plain[name], second[name])
    for path in (tmp_path / "moments-mlp").iterdir():  # the largest matrices are not read again, not even opened
        path.unlink()
    third = deriver_of(model, options=options, cache=cache).derive(arch).state_dict()
    assert all(torch.equal(plain[name], third[name]) for name in plain)
    with pytest.raises(TypeError):  # other images are other statistics
        deriver_of(model, split=make_split(seed=4), options=options, cache=cache).derive(arch)


def test_another_ranking_reads_the_matrices_that_the_first_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = make_model("avg"), Cache(tmp_path)
    arch = with_blocks(model.arch, mlp_width=16)
    options = DeriveOptions(num_images=60, sensitivity_images=20)
    other = dataclasses.replace(options, ranking="activation")
    deriver_of(model, options=options, cache=cache).prepare()
    wanted = deriver_of(model, options=other).derive(arch).state_dict()
    monkeypatch.setattr("nuwa_search.search.derive.plan.collect_moments", None)
    found = deriver_of(model, options=other, cache=cache).derive(arch).state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_matrices_of_solved_mlps_are_freed() -> None:
    plan = deriver_of(make_model("avg")).prepare()
    mlps = [moments for moments in plan.moments.branches.values() if moments.is_mlp]
    assert mlps
    assert all(m.gram.untyped_storage().nbytes() == m.ahead.untyped_storage().nbytes() == 0 for m in mlps)


def test_derived_subnets_do_not_share_memory() -> None:
    model = make_model("avg")
    deriver = deriver_of(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = deriver.derive(model.arch)
    with torch.no_grad():
        for value in first.parameters():
            value.zero_()
    second = deriver.derive(model.arch)
    for name, value in second.state_dict().items():
        assert torch.equal(value, before[name])


def test_blocks_are_placed_in_order_where_they_are_worth_most() -> None:
    base = make_model("avg").arch
    arch = dataclasses.replace(base, blocks=(BlockSpec(1, 4, 4, 8), BlockSpec(2, 8, 8, 16)))
    placed = place_blocks(arch, base, [0.1, 0.9, 0.5])
    assert placed.blocks == (EMPTY_BLOCK, *arch.blocks)
    assert placed.compact() == arch
    with pytest.raises(NuwaError, match="cannot be placed"):
        place_blocks(dataclasses.replace(arch, blocks=(BlockSpec(1, 4, 4, 99),)), base, [1, 1, 1])


def test_images_are_spread_over_the_classes() -> None:
    split = make_split(90, num_classes=3)
    uneven = split.take(torch.tensor([*range(0, 90, 3), 1, 2, 4]))
    labels = spread_evenly(uneven, 6).labels
    assert torch.bincount(labels).tolist() == [3, 2, 1]


@pytest.mark.parametrize("family", ["token", "no_qkv_bias", "distilled", "pre_norm", "registers"])
def test_refining_brings_the_cut_net_closer_on_images_it_has_not_seen(family: str) -> None:
    model = make_model(family)
    options = dataclasses.replace(FAST, num_images=400, refine_images=400)
    deriver = deriver_of(model, split=make_split(400), options=options)
    arch = with_block(with_blocks(model.arch, num_heads=2, mlp_width=32), 1, BlockSpec(0, 0, 0, 24))
    if not arch.pre_norm:
        arch = narrow(arch, 16)
    images = normalise(make_split(100, seed=5).images, PREPROCESS)
    with torch.no_grad():
        wanted = model(images)
        once, refined = deriver.derive(arch), deriver.derive_refined(arch)
        assert refined.arch == once.arch
        assert float((refined(images) - wanted).square().mean()) < float((once(images) - wanted).square().mean())
        assert torch.equal(deriver.derive_refined(model.arch)(images), wanted)


def test_threads_derive_what_one_thread_derives() -> None:
    model = make_model("avg")
    archs = [with_blocks(model.arch, qk_dim=q, mlp_width=w) for q in (3, 5) for w in (8, 16, 24)]
    expected = [deriver_of(model).derive(arch).state_dict() for arch in archs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(deriver_of(model).derive, archs))
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.items())


def test_a_deriver_travels_to_another_process_with_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("avg")
    arch = with_blocks(model.arch, qk_dim=4, mlp_width=16)
    deriver = deriver_of(model)
    expected = deriver.derive(arch).state_dict()
    sent = pickle.dumps(deriver)
    monkeypatch.setattr("nuwa_search.search.derive.plan.collect_moments", None)  # calling it now would fail
    found = pickle.loads(sent).derive(arch).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize(("max_images", "share"), [(None, 1.0), (1, None), (10_000, 1.0)])
def test_refining_takes_at_most_the_images_asked_for(
    monkeypatch: pytest.MonkeyPatch, max_images: int | None, share: float
) -> None:
    seen = []
    monkeypatch.setattr(
        "nuwa_search.search.derive.deriver.refine", lambda _, wide, **__: seen.append(len(wide.guide.split))
    )
    model = make_model("avg")
    deriver = deriver_of(model)
    deriver.derive_refined(with_blocks(model.arch, qk_dim=4, mlp_width=16), max_images=max_images)
    whole = min(len(deriver.train), deriver.options.refine_images)
    assert seen == [1 if share is None else whole]


def test_refining_sees_every_class_where_its_tokens_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images come class by class from a folder: the first that fit would be of one class."""
    seen = []
    monkeypatch.setattr("nuwa_search.search.derive.deriver.refine", lambda _, wide, **__: seen.append(wide.guide.split))
    model, split = make_model("avg"), make_split(90, num_classes=3)
    monkeypatch.setattr("nuwa_search.search.derive.refine.MAX_TOKENS", 6 * model.arch.num_tokens)
    sorted_split = split.take(split.labels.argsort(stable=True))
    deriver_of(model, split=sorted_split).derive_refined(with_blocks(model.arch, qk_dim=4, mlp_width=16))
    assert torch.bincount(seen[0].labels).tolist() == [2, 2, 2]


def test_refining_runs_each_branch_of_the_cut_net_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("avg")
    ran: list[torch.nn.Module] = []
    regressors = Branch.regressors

    def counted(self: Branch, x: torch.Tensor) -> torch.Tensor:
        ran.append(self.body)
        return regressors(self, x)

    monkeypatch.setattr(Branch, "regressors", counted)
    refined = deriver_of(model, split=make_split(20)).derive_refined(with_blocks(model.arch, mlp_width=16))
    counts = [sum(body is branch.body for body in ran) for branch in branches_of(refined)]
    assert counts == [1] * len(counts)
