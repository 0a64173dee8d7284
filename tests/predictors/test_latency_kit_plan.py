import json
from dataclasses import replace

import numpy as np
import pytest

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.cost import block_macs
from nuwa_search.core.device import Measurement
from nuwa_search.latency.table.axes import axes_of
from nuwa_search.latency.table.unit import StemKey, stem_of
from nuwa_search.predictors.fill_table import TablePlan, stem_archs
from nuwa_search.predictors.kit_plan import KitPlan, background_like, nets_of, plan_kit, rows_of
from nuwa_search.predictors.latency.predictor import LatencyPredictor, Subject
from nuwa_search.predictors.report_card import errors_of
from tests.support.closed_form_device import BASE, ClosedFormDevice, Formula, export

FORMULA = Formula(launch_attn=0.12, launch_mlp=0.06)


def measured_nets(plan: KitPlan) -> list[tuple[Arch, Measurement]]:
    device = ClosedFormDevice(FORMULA)
    out = []
    for arch, role in nets_of(plan, base=BASE):
        found = device.measure(export(arch))
        out.append((arch_from_dict(json.loads(export(arch).graph.doc_string)), replace(found, state={"role": role})))
    return out


def test_a_kit_is_enough_for_a_predictor() -> None:
    plan = plan_kit(BASE)
    models = measured_nets(plan)
    rows = rows_of(plan, models, base=BASE)
    assert {row.key for row in rows} == set(plan.keys)
    predictor = LatencyPredictor(rows, subject=Subject("far", "0" * 16, "measured"))
    predictor.fit(plan.fit, [FORMULA.latency(arch) for arch in plan.fit])
    truth = np.array([FORMULA.latency(arch) for arch in plan.heldout])
    assert errors_of(predictor.predict(plan.heldout).value, truth).mape < 0.03


def test_a_base_without_a_head_is_profiled_for_all_that_one_may_read() -> None:
    headless = replace(BASE, num_classes=1, num_prefix_tokens=1)
    kit = plan_kit(headless)
    planned = [stem_of(arch) for arch in stem_archs(headless, TablePlan(axes_of(headless)))]
    for keys in (kit.keys, planned):
        assert {key.global_pool for key in keys if isinstance(key, StemKey)} == {"token", "avg", "token_avg"}
    assert {key.global_pool for key in plan_kit(BASE).keys if isinstance(key, StemKey)} == {BASE.global_pool}
    chains = [arch for arch, role in nets_of(kit, base=headless) if role == "chain"]
    assert {stem_of(arch) for arch in chains if not arch.blocks} >= {k for k in kit.keys if isinstance(k, StemKey)}


def test_rows_whose_chains_are_missing_are_left_out() -> None:
    plan = plan_kit(BASE)
    models = measured_nets(plan)
    assert len(rows_of(plan, models[:3], base=BASE)) < len(plan.keys)
    assert rows_of(plan, [], base=BASE) == []


def test_the_background_is_six_blocks_of_work() -> None:
    place = {"embed_dim": BASE.embed_dim, "num_tokens": BASE.num_tokens}
    six = 6 * block_macs(BASE.blocks[0], **place)
    assert block_macs(background_like(BASE), **place) == pytest.approx(six, rel=0.01)


def test_the_same_seed_plans_the_same_kit() -> None:
    assert plan_kit(BASE) == plan_kit(BASE)
    assert plan_kit(BASE, seed=1).fit != plan_kit(BASE).fit
