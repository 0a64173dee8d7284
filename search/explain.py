"""Why this arch: what each cut saves in milliseconds and costs in KL, and what another budget would buy."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import size_words
from nuwa_search.predictors.accuracy import AdditivePrior, KLPredictor
from nuwa_search.predictors.contract import Predictor
from nuwa_search.search.feasible import Limits
from nuwa_search.search.seeds import AdditiveFront, fitting_points
from nuwa_search.search.space import SearchSpace
from nuwa_search.search.trials import StudyResult, TrialReport

BUDGET_SHARES = (0.9, 1.1)
"""Other budgets that are answered: 10 % less and more."""


@dataclass(frozen=True)
class Cut:
    """One thing the winner has less of than the base.

    Args:
        place: ``block03.attn``, ``block03.mlp``, ``embed_dim`` or ``img_size``.
        what: In words, such as ``3 heads -> gone``.
        saved_ms: How much slower the winner would be with the base's widths here (predicted).
        alone_kl: KL in nats of the base with this cut only, from the library.
        kl: How much KL the winner would lose with the base's widths here (predicted by the fitted predictor);
            negative where the cut makes up for another.
    """

    place: str
    what: str
    saved_ms: float
    alone_kl: float
    kl: float


@dataclass(frozen=True)
class OtherBudget:
    """What another budget would buy.

    Args:
        budget_ms: The other budget.
        trial: Best scored trial within it; None if none was scored there.
        promised_kl: Least KL that the predictor promises within it, scored or not; None if nothing fits.
    """

    budget_ms: float
    trial: TrialReport | None
    promised_kl: float | None


@dataclass(frozen=True)
class Explanation:
    """The winner's cuts, dearest saving first, and the neighbouring budgets."""

    winner: TrialReport
    cuts: tuple[Cut, ...]
    other_budgets: tuple[OtherBudget, ...]


def explain(
    result: StudyResult,
    *,
    space: SearchSpace,
    prior: AdditivePrior,
    latency: Predictor,
    budget_ms: float,
    fronts: Sequence[AdditiveFront] = (),
) -> Explanation:
    """Explain the study's best subnet.

    Args:
        result: A study with a winner.
        space: Search space of the study.
        prior: Of the library.
        latency: Predicts milliseconds.
        budget_ms: Budget of the study in milliseconds.
        fronts: Knapsack fronts, from which promises for other budgets are drawn beside the scored trials.

    Raises:
        NuwaError: If the study has no winner.
    """
    winner = result.best
    if winner is None:
        raise NuwaError("there is nothing to explain: no subnet fits", hint="raise the budget or the trials")
    rows = [(t.arch, t.kl) for t in result.trials if t.is_evaluation and t.kl is not None]
    accuracy = KLPredictor(prior).fit([a for a, _ in rows], [max(0.0, kl) for _, kl in rows])
    cuts = _cuts(winner.arch, space=space, prior=prior, latency=latency, accuracy=accuracy)
    others = tuple(
        _other_budget(result, share * budget_ms, accuracy=accuracy, latency=latency, fronts=fronts)
        for share in BUDGET_SHARES
    )
    return Explanation(winner, tuple(sorted(cuts, key=lambda cut: -cut.saved_ms)), others)


def _cuts(
    arch: Arch, *, space: SearchSpace, prior: AdditivePrior, latency: Predictor, accuracy: KLPredictor
) -> list[Cut]:
    found: list[tuple[str, str, float, Arch]] = []
    for i, (mine, full) in enumerate(zip(arch.blocks, space.base.blocks, strict=True)):
        attn_kl, mlp_kl = prior.block_cost(i, mine)
        if _attn(mine) != _attn(full):
            whole = _with_block(space, arch, i, BlockSpec(*_attn(full), mine.mlp_width))
            found.append((f"block{i:02d}.attn", _attn_words(mine, full), attn_kl, whole))
        if mine.mlp_width != full.mlp_width:
            whole = _with_block(space, arch, i, BlockSpec(*_attn(mine), full.mlp_width))
            found.append((f"block{i:02d}.mlp", _width_words(mine.mlp_width, full.mlp_width), mlp_kl, whole))
    if arch.embed_dim != space.base.embed_dim:
        words = _width_words(arch.embed_dim, space.base.embed_dim)
        whole = space.make(arch.blocks, img_size=arch.img_size)
        found.append(("embed_dim", words, prior.embed_cost(arch.embed_dim), whole))
    if arch.img_size != space.base.img_size:
        words = f"{size_words(space.base.img_size)} -> {size_words(arch.img_size)} px"
        whole = space.make(arch.blocks, embed_dim=arch.embed_dim)
        found.append(("img_size", words, prior.size_cost(arch.img_size), whole))
    archs = [arch, *(whole for *_, whole in found)]
    ms, kl = latency.predict(archs).value, accuracy.predict(archs).value
    return [
        Cut(place, words, float(ms[k] - ms[0]), alone, float(kl[0] - kl[k]))
        for k, (place, words, alone, _) in enumerate(found, start=1)
    ]


def _other_budget(
    result: StudyResult,
    budget_ms: float,
    *,
    accuracy: KLPredictor,
    latency: Predictor,
    fronts: Sequence[AdditiveFront],
) -> OtherBudget:
    budget = Limits(latency, budget_ms)
    scored = [t for t in result.trials if t.state == "scored" and t.kl is not None]
    inside = budget.fits([t.arch for t in scored])
    fitting = [t for t, fits in zip(scored, inside, strict=True) if fits]
    best = min(fitting, key=lambda t: (t.kl, t.number), default=None)
    archs = [arch for front in fronts for arch in fitting_points(front, budget, at_most=500)[1]]
    promises = [*accuracy.predict(archs).value.tolist()] if archs else []
    promises += [t.kl for t in fitting if t.kl is not None]
    return OtherBudget(budget_ms, best, min(promises) if promises else None)


def _with_block(space: SearchSpace, arch: Arch, i: int, spec: BlockSpec) -> Arch:
    return space.with_blocks(arch, [*arch.blocks[:i], spec, *arch.blocks[i + 1 :]])


def _attn(spec: BlockSpec) -> tuple[int, int, int]:
    return spec.num_heads, spec.qk_dim, spec.v_dim


def _attn_words(mine: BlockSpec, full: BlockSpec) -> str:
    if not mine.has_attn:
        return f"{full.num_heads} heads -> gone"
    named = (("heads", "num_heads"), ("qk", "qk_dim"), ("v", "v_dim"))
    changed = [(w, getattr(full, f), getattr(mine, f)) for w, f in named if getattr(full, f) != getattr(mine, f)]
    return ", ".join(f"{word} {before} -> {after}" for word, before, after in changed)


def _width_words(mine: int, full: int) -> str:
    return f"{full} -> {mine or 'gone'}"
