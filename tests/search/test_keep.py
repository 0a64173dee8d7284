"""Parts of a base that stay whole: what globs name, and that nothing of a search cuts them."""

import dataclasses
import itertools

import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.search.feasible import Limits
from nuwa_search.search.guidance import Guidance
from nuwa_search.search.keep import kept_parts, part_names, search_space
from nuwa_search.search.library import Library, LibraryRow, library_archs
from nuwa_search.search.run import run_study
from nuwa_search.search.scorer import SubnetScore
from nuwa_search.search.space import space_from_base
from nuwa_search.search.trials import StudyConfig
from tests.support.search_fakes import CountingLatency, EmptyDeriver, KlOf, SyntheticScorer

BASE = Arch(blocks=(BlockSpec(2, 16, 16, 64),) * 12, embed_dim=32, num_classes=5, img_size=16, patch_size=8)
SMALL = dataclasses.replace(BASE, blocks=BASE.blocks[:3])


def test_globs_name_parts_as_a_shell_does() -> None:
    assert part_names(SMALL)[:4] == ("embed", "blocks.0", "blocks.0.attn", "blocks.0.mlp")
    both = ("attn", "mlp")
    assert kept_parts(BASE, ["blocks.3.attn"]) == ("blocks.3.attn",)
    assert kept_parts(BASE, ["blocks.3"]) == ("blocks.3.attn", "blocks.3.mlp")
    assert kept_parts(BASE, ["blocks.1?.*"]) == tuple(f"blocks.{i}.{b}" for i in (10, 11) for b in both)
    assert kept_parts(BASE, ["blocks.1*"]) == tuple(f"blocks.{i}.{b}" for i in (1, 10, 11) for b in both)
    assert kept_parts(BASE, ["blocks.[01].mlp", "embed"]) == ("embed", "blocks.0.mlp", "blocks.1.mlp")
    assert kept_parts(BASE, []) == ()
    no_attn = dataclasses.replace(SMALL, blocks=(BlockSpec(0, 0, 0, 64), *SMALL.blocks[1:]))
    assert "blocks.0.attn" not in part_names(no_attn)


def test_a_glob_that_names_nothing_is_refused_with_the_names() -> None:
    with pytest.raises(NuwaError, match=r"--keep blocks\.12: no part of the base") as caught:
        kept_parts(BASE, ["blocks.1", "blocks.12"])
    names = "embed, blocks.0 … blocks.11, blocks.0.attn … blocks.11.attn, blocks.0.mlp … blocks.11.mlp"
    assert caught.value.hint == f"its parts: {names}"
    with pytest.raises(NuwaError, match="nothing is left to cut"):
        kept_parts(BASE, ["*.attn", "*.mlp"])


def test_the_space_of_kept_parts_is_the_whole_space_where_they_are_whole() -> None:
    base = dataclasses.replace(SMALL, blocks=SMALL.blocks[:2])
    whole = space_from_base(base, mlp_steps=8, dim_steps=4)
    assert search_space(base) == whole
    kept = search_space(base, keep=["blocks.0.attn", "blocks.1.mlp"])
    found = set(kept.enumerate())
    by_force = {
        arch
        for arch in whole.enumerate()
        if (arch.blocks[0].num_heads, arch.blocks[0].qk_dim, arch.blocks[0].v_dim) == (2, 16, 16)
        and arch.blocks[1].mlp_width == 64
    }
    assert found == by_force
    assert len(found) == kept.size


def test_no_single_cut_is_spent_on_kept_parts() -> None:
    base = SMALL
    kept = search_space(base, keep=["blocks.1", "blocks.2.attn"])
    archs = library_archs(kept)
    assert archs
    assert all(arch.blocks[1] == base.blocks[1] for arch in archs)
    assert all(arch.blocks[2].num_heads == 2 and arch.blocks[2].qk_dim == 16 for arch in archs)
    is_whole = [arch for arch in library_archs(space_from_base(base)) if kept.contains(arch)]
    assert archs == is_whole


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_everything_proposed_has_its_kept_parts(
    make_deriver: type[EmptyDeriver],
    make_scorer: type[SyntheticScorer],
    latency: CountingLatency,
    kl_of: KlOf,
    sampler: str,
) -> None:
    space = search_space(SMALL, keep=["blocks.0.mlp", "blocks.2"])
    rows = [LibraryRow(a, SubnetScore(kl_of(a, SMALL), 0.0, 0.0, 256)) for a in library_archs(space)]
    result = run_study(
        space,
        deriver=make_deriver(),
        scorer=make_scorer(SMALL),
        limits=Limits(latency, 0.8 * 1.02 * latency.ms(SMALL)),
        config=StudyConfig(trials=16, sampler=sampler, sampler_share=0.5),
        guidance=Guidance(library=Library(SMALL, tuple(rows))),
    )
    assert {"seed", "sampler", "neighbour"} <= {trial.origin for trial in result.trials}
    for trial in result.trials:
        assert trial.arch.blocks[0].mlp_width == 64
        assert trial.arch.blocks[2] == SMALL.blocks[2]
    assert result.best is not None
    assert all(trial.arch != SMALL for trial in result.fitting)


def test_a_study_of_other_kept_parts_is_carried_over_where_it_fits() -> None:
    """Trials speak of what had a choice; of the rest the base's widths are meant, here as there."""
    free, kept = space_from_base(SMALL), search_space(SMALL, keep=["blocks.1"])
    for origin, here in itertools.product((free, kept), (free, kept)):
        for arch in library_archs(origin):
            values = here.params_of_base | origin.params_from_arch(arch)
            assert here.has_params(values) == here.contains(arch)
            if here.has_params(values):
                assert here.arch_from_params(values) == arch
