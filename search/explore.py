"""Find the nets worth scoring: thousands predicted from changed logits, a few really run, and expanded there again.

Source of the expansion: logits of whole nets as sums of the changes of single cuts; as in sequential quadratic
programming, the sum is taken again at the best net found, where the changes of further cuts are measured on that net.
Nets are run on the library's few images; what is found becomes the first trials of the study, which scores them on all.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.predictors.accuracy import AdditivePrior, ChangeModel, singles_from_library
from nuwa_search.predictors.accuracy.changes import Changes, Move, num_different
from nuwa_search.predictors.accuracy.features import KL_FLOOR, Floats
from nuwa_search.search.feasible import Limits
from nuwa_search.search.library import Library
from nuwa_search.search.linear_changes import LinearChanges, net_changes
from nuwa_search.search.precision import scoring_context
from nuwa_search.search.proposals import Guide
from nuwa_search.search.scorer import SubnetDeriver, TeacherScorer, logits_in_parts
from nuwa_search.search.seeds import MIN_DIFFERENT_BLOCKS, AdditiveFront, Seed, fitting_points, kl_limit
from nuwa_search.search.space import BLOCK_FIELDS, BlockChoices, SearchSpace

MAX_ROUNDS = 3
"""Expansions at most; each costs about as many short runs as the library has rows of two fields."""
NETS_PER_ROUND = 6
"""Predicted winners that are really run per round, unlike each other: the sum is off by a third at deep cuts."""
WALK_ROUNDS = 12
"""Rounds of mutation and selection per round, each of a population's children: about two thousand nets."""
MAX_SEEDS = 8
"""Nets that are handed to the study, best first."""
MOST_STARTS = 4
"""Nets that a search gives the explorer to begin with: exact solutions of the additive knapsack."""
NEAR_BEST = 1.5
"""Times the best net's KL (``kl_limit``) up to which others are handed on: the study would score the rest on more
images for nothing. Of eight that were handed on without a limit, seven were farther off in a search of
the textiles (no command of the project repeats it)."""
FRONT_POINTS = 400
"""Knapsack solutions of each additive front that a walk starts from."""
LEAST_GAIN = 0.02
"""Share of the best KL by which a net must be predicted to be better, to be run: less is within the sum's error."""
EXPLORE_STREAM = 2_000_003
"""Sets the walks' random stream apart from those of seeds and proposals."""
MOVED_FIELDS = ("num_heads", "mlp_width")
"""Widths whose neighbours are measured at each expansion; those of single heads follow by the net's one factor."""


class Explorer:
    """Runs nets that are predicted to win, and learns from each.

    Args:
        space: What may be proposed.
        deriver: Cuts the nets.
        scorer: Its first images are those of the library.
        library: Whole, with changed logits.
        seed: Seed of the walks.
        on_run: Called with the short runs done and the most that there can be.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        deriver: SubnetDeriver,
        scorer: TeacherScorer,
        library: Library,
        seed: int = 0,
        on_run: Callable[[int, int], None] | None = None,
    ) -> None:
        changes = [row.change.numpy() for row in library.rows if row.change is not None]
        self._space, self._deriver, self._seed = space, deriver, seed
        count = library.rows[0].score.num_images
        self._scorer, self._count, self._rows = scorer, count, scorer.rows
        targets = scorer.rows(scorer.log_targets[:count]).numpy()
        weights = scorer.row_weights(count).numpy()
        self.model = ChangeModel(singles_from_library(space.base, library.archs, changes), targets, weights)
        self._on_run, self._num_runs = on_run, 0
        self._logits: dict[Arch, Changes] = {}
        self._expanded: set[Arch] = set()

    @property
    def num_run(self) -> int:
        """Nets that were really run."""
        return len(self._logits)

    def predict_log(self, archs: Sequence[Arch]) -> tuple[Floats, Floats]:
        """Predict log KL by the expansions so far; they say nothing about their own error."""
        mean = np.log(self.model.kl(archs) + KL_FLOOR)
        return mean, np.zeros(len(mean))

    def seeds(
        self,
        *,
        budget: Limits,
        fronts: Sequence[AdditiveFront],
        prior: AdditivePrior,
        should_stop: Callable[[], bool],
        starts: Sequence[Arch] = (),
    ) -> list[Seed]:
        """Explore until no net is predicted to win, and list the nets that were run and come near the best.

        Args:
            budget: What must fit.
            fronts: Where walks start.
            prior: What the library promises of a seed.
            should_stop: Asked before every net.
            starts: Nets that are run before any is predicted.
        """
        extra = [arch for front in fronts for arch in fitting_points(front, budget, at_most=FRONT_POINTS)[1]]
        guide = Guide(self._space, budget, extra=extra)
        is_new = self._run_all(starts, should_stop)
        for turn in range(MAX_ROUNDS + 1):
            is_new = self._run_all(self._promising(guide, budget, turn), should_stop) or (is_new and not turn)
            ranked = self._ranked(budget)
            if should_stop() or not is_new or not ranked or turn == MAX_ROUNDS or ranked[0] in self._expanded:
                break
            self._expand(ranked[0], should_stop)
        ranked = self._ranked(budget)
        limit = kl_limit(self._kl(ranked[0]), times=NEAR_BEST) if ranked else 0.0
        near = [arch for arch in ranked if arch is ranked[0] or self._kl(arch) <= limit]
        return [Seed(arch, "seed", prior.additive(arch)) for arch in near[:MAX_SEEDS]]

    def _run_all(self, archs: Sequence[Arch], should_stop: Callable[[], bool]) -> bool:
        """Run those that have not been, and say whether there were any."""
        before = len(self._logits)
        for arch in archs:
            if should_stop():
                break
            if arch not in self._logits:
                self._run(arch)
        return len(self._logits) > before

    def _promising(self, guide: Guide, budget: Limits, turn: int) -> list[Arch]:
        """List nets that are predicted to beat the best that was run, different from each other."""
        ranked = self._ranked(budget)
        rng = np.random.default_rng([self._seed, EXPLORE_STREAM, turn])
        found = guide.best(self, parents=ranked[:NETS_PER_ROUND], known=set(self._logits), rng=rng, rounds=WALK_ROUNDS)
        if not found:
            return []
        if ranked:
            limit = (1 - LEAST_GAIN) * self._kl(ranked[0])
            found = [arch for arch, kl in zip(found, self.model.kl(found), strict=True) if kl < limit]
        taken: list[Arch] = []
        for arch in found:
            if all(num_different(arch, other) >= MIN_DIFFERENT_BLOCKS for other in taken):
                taken.append(arch)
        return taken[:NETS_PER_ROUND]

    def _ranked(self, budget: Limits) -> list[Arch]:
        """List nets that were run and fit, least KL first."""
        archs = list(self._logits)
        fitting = [arch for arch, fits in zip(archs, budget.fits(archs), strict=True) if fits]
        return sorted(fitting, key=self._kl)

    def _kl(self, arch: Arch) -> float:
        return float(self.model.kl_of(self._logits[arch]))

    def _run(self, arch: Arch) -> None:
        model = self._deriver.derive(arch)
        with torch.inference_mode(), scoring_context(self._scorer.inputs.device):
            logits = self._rows(logits_in_parts(model, self._inputs_of(arch))).numpy()
        self._logits[arch] = logits
        self.model.add(arch, logits, {})
        self._told()

    def _inputs_of(self, arch: Arch) -> torch.Tensor:
        """Return the library's images at the size that ``arch`` takes."""
        return self._scorer.inputs_at(arch.img_size)[: self._count]

    def _told(self) -> None:
        """Report progress; runs end before the total where nothing more is predicted to win."""
        self._num_runs += 1
        if self._on_run is not None:
            self._on_run(self._num_runs, most_runs(len(self._space.blocks)))

    def _expand(self, arch: Arch, should_stop: Callable[[], bool]) -> None:
        """Measure what single moves change of a net's logits."""
        net = net_changes(self._deriver.derive(arch), self._inputs_of(arch))
        with torch.inference_mode(), scoring_context(self._scorer.inputs.device):
            own = self._rows(net.logits).numpy()
        moves = dict[Move, Changes]()
        ordered = list(moves_of(self._space, arch))
        if isinstance(net, LinearChanges):
            ordered.reverse()  # gradients come from the last block
        for move in ordered:
            if should_stop():
                break
            i, spec = move
            moved = self._space.with_blocks(arch, [*arch.blocks[:i], spec, *arch.blocks[i + 1 :]])
            if not self._space.has_attention(moved):
                continue
            model = self._deriver.derive(moved)
            with torch.inference_mode(), scoring_context(self._scorer.inputs.device):
                moves[move] = self._rows(net.run(model)).numpy() - own
            self._told()
        self._expanded.add(arch)
        self.model.add(arch, self._logits[arch], moves)


def most_runs(num_blocks: int) -> int:
    """Return how many short runs an explorer of a net of ``num_blocks`` blocks makes at most."""
    moves = 2 * len(MOVED_FIELDS) * num_blocks
    return MOST_STARTS + NETS_PER_ROUND * (MAX_ROUNDS + 1) + MAX_ROUNDS * moves


def moves_of(space: SearchSpace, arch: Arch) -> Iterator[Move]:
    """List blocks of ``arch`` one step narrower or wider in heads or MLP, a branch gone or back."""
    for i, (now, choices) in enumerate(zip(arch.blocks, space.blocks, strict=True)):
        for spec in sorted({*_steps(now, choices)} - {now}):
            yield i, spec


def _steps(now: BlockSpec, choices: BlockChoices) -> Iterator[BlockSpec]:
    values = dict(zip(BLOCK_FIELDS, (now.num_heads, now.qk_dim, now.v_dim, now.mlp_width), strict=True))
    for name in MOVED_FIELDS:
        options: tuple[int, ...] = getattr(choices, name)
        place = options.index(values[name])
        for value in {options[max(0, place - 1)], options[min(len(options) - 1, place + 1)]}:
            yield _spec(values | {name: value}, choices)


def _spec(values: dict[str, int], choices: BlockChoices) -> BlockSpec:
    """Build a block; attention that comes back has whole heads, and one that goes has none."""
    if not values["num_heads"]:
        return BlockSpec(0, 0, 0, values["mlp_width"])
    qk, v = values["qk_dim"] or choices.qk_dim[-1], values["v_dim"] or choices.v_dim[-1]
    return BlockSpec(values["num_heads"], qk, v, values["mlp_width"])
