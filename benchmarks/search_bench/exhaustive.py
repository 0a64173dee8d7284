"""A space so small that every arch can really be scored: how far from the best does the search end?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.search_bench.setting import Places, TaskSetting, open_bench_device, open_task
from benchmarks.search_bench.tables import Row, versions
from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.vit import PlainViT
from nuwa_search.search.feasible import Limits
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.library import build_library
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.space import BlockChoices, SearchSpace
from nuwa_search.search.trials import StudyConfig

OPEN_BLOCKS = (3, 5, 7, 9)
"""Blocks that may lose attention, MLP or both: 4^4 = 256 archs; those between are cheap and those outside dear."""
SHARES = (0.9, 0.85)
"""Budgets as shares of the base's latency; at 0.75 only nine of the 256 archs are left."""
EVALUATIONS = 60
TOP = 0.01


def open_space(task: TaskSetting) -> SearchSpace:
    """Keep every width; let some blocks lose a branch."""
    whole = task.space.blocks
    closed = [_only(choices) for choices in whole]
    blocks = [
        BlockChoices((0, *closed[i].num_heads), closed[i].qk_dim, closed[i].v_dim, (0, *closed[i].mlp_width))
        if i in OPEN_BLOCKS
        else closed[i]
        for i in range(len(whole))
    ]
    return SearchSpace(base=task.space.base, blocks=tuple(blocks), embed_dims=task.space.embed_dims)


def _only(choices: BlockChoices) -> BlockChoices:
    return BlockChoices(choices.num_heads[-1:], choices.qk_dim[-1:], choices.v_dim[-1:], choices.mlp_width[-1:])


@dataclass
class Looked:
    """Derives and scores by looking up what was really scored before."""

    model: PlainViT
    kls: dict[Arch, SubnetScore]
    asked: Arch | None = None

    def derive(self, arch: Arch) -> PlainViT:
        """Remember what is asked for."""
        self.asked = arch
        return self.model

    def score(self, model: PlainViT, *, give_up_above: float | None = None) -> SubnetScore:
        """Answer with the score of what was asked for."""
        del model, give_up_above
        if self.asked is None:
            raise ValueError("nothing was derived")
        return self.kls[self.asked]


def exhaustive_table(places: Places, *, device_name: str, task_name: str, seeds: Sequence[int]) -> list[Row]:
    """Score all archs, then let ours and random search find the best of those that fit."""
    task = open_task(places, task_name)
    device = open_bench_device(places, device_name, task.teacher.arch.num_classes)
    space = open_space(task)
    scores = _all_scores(places, task, space)
    library = build_library(space, deriver=task.deriver, scorer=task.scorer, teacher=task.teacher)
    rows = []
    for share in SHARES:
        budget_ms = share * device.base_ms
        archs = list(scores)
        inside = Limits(device.predictor, budget_ms).fits(archs)
        ordered = sorted((scores[a].kl, a.arch_id, a) for a, fits in zip(archs, inside, strict=True) if fits)
        place = {arch: k for k, (_, _, arch) in enumerate(ordered, start=1)}
        for seed in seeds:
            for method in ("ours", "random"):
                spent = len(library.rows) if method == "ours" else 0
                is_ours = method == "ours"
                result = run_study(
                    space,
                    deriver=(looked := Looked(task.teacher, scores)),
                    scorer=looked,
                    limits=Limits(device.predictor, budget_ms),
                    config=_config(seed, trials=EVALUATIONS - spent, is_ours=is_ours),
                    guidance=Guidance(library) if is_ours else Guidance(seeds=()),
                )
                paid = [t.arch for t in result.trials if t.is_evaluation]
                ranks = [place[arch] for arch in paid if arch in place]
                best = min(ranks)
                rows.append(
                    {
                        "device": device_name,
                        "task": task_name,
                        "space": space.size,
                        "budget_share": share,
                        "within_budget": len(ordered),
                        "method": method,
                        "seed": seed,
                        "evaluations": spent + len(paid),
                        "of_them_library": spent,
                        "rank": best,
                        "top_share": round(best / len(ordered), 4),
                        "is_top_1_percent": best <= max(1, TOP * len(ordered)),
                        "found_after": spent + 1 + ranks.index(best),
                        "kl_found": round(ordered[best - 1][0], 5),
                        "kl_best": round(ordered[0][0], 5),
                        "versions": versions(),
                    }
                )
    return rows


def _config(seed: int, *, trials: int, is_ours: bool) -> StudyConfig:
    if is_ours:
        return StudyConfig(trials=trials, seed=seed, prune=False)
    return StudyConfig(trials=trials, seed=seed, prune=False, guided=False, sampler="random")


def _all_scores(places: Places, task: TaskSetting, space: SearchSpace) -> dict[Arch, SubnetScore]:
    """Score every arch, or read what was scored before."""
    path = places.cache / f"exhaustive-{task.name}.json"
    known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    scores = {}
    for arch in space.enumerate():
        key = str(sorted(space.params_from_arch(arch).items()))
        if key not in known:
            found = task.scorer.score(task.deriver.derive(arch))
            if found.top1 is None:
                raise NuwaError(f"{key} was scored without top1: this table is of whole images")
            known[key] = [found.kl, found.kl_first, found.top1, found.num_images]
        kl, kl_first, top1, num_images = known[key]
        scores[arch] = SubnetScore(kl, kl_first, top1, int(num_images))
    path.write_text(json.dumps(known))
    return scores
