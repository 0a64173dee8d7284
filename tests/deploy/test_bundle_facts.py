"""Facts of a bundle: their way to JSON and back, and bundles that commit 494cfc3 wrote.

``tests/data/bundle_494cfc3`` holds the certificate and the facts that code of that commit wrote for the small bundle
of ``bundle_parts``, with every fact that it knew.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.core.budget import Budget
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.bundle_facts import BundleFacts, CertifiedBudget, dict_from_facts, facts_from_dict
from nuwa_search.deploy.score_facts import score_facts
from nuwa_search.deploy.write_bundle import parts_from_bundle, write_bundle
from tests.deploy.bundle_parts import make_parts

OLD = Path(__file__).parents[1] / "data" / "bundle_494cfc3"


def old(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((OLD / name).read_text())
    return values


def test_an_old_certificate_is_opened_and_its_facts_are_written_as_they_were(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", make_parts()).dir
    shutil.copyfile(OLD / "certificate.json", folder / "certificate.json")
    bundle = read_bundle(folder)
    certificate = bundle.certificate
    assert certificate is not None
    assert (certificate.budget, certificate.verdict) == (Budget(30.0, "p95"), old("certificate.json")["verdict"])
    assert (bundle.facts.study, bundle.facts.top1, bundle.facts.split) == ("mine", 0.8, "test")
    assert bundle.facts.int8 is not None
    assert bundle.facts.int8.float_blocks == (1,)
    # its emulated board counted the CUDA context too: another quantity, which is not passed on as peak memory
    assert old("certificate.json")["peak_memory_mb"] == 861.5
    assert certificate.measurement is not None
    assert certificate.measurement.peak_memory_mb is None
    write_bundle(folder, parts_from_bundle(bundle), replace=True)
    again = json.loads((folder / "certificate.json").read_text())
    assert again["facts"] == old("certificate.json")["facts"]
    assert again["facts"]["base_top1_all_classes"] is None
    assert old("certificate.json").keys() <= again.keys()


def test_old_facts_without_a_certificate_are_opened_and_written_as_they_were(tmp_path: Path) -> None:
    bare = dataclasses.replace(make_parts(), exported=None, certificate=None, build_line=None)
    folder = write_bundle(tmp_path / "b", bare).dir
    shutil.copyfile(OLD / "facts.json", folder / "facts.json")
    bundle = read_bundle(folder)
    assert bundle.subnet_id == "d" * 16
    assert bundle.facts.budget == CertifiedBudget("jetson-nano", Budget(30.0, "p95"))
    assert [one.top1_search for one in bundle.facts.finetunes] == [0.75]
    write_bundle(folder, parts_from_bundle(bundle), replace=True)
    assert json.loads((folder / "facts.json").read_text()) == old("facts.json")


def test_scores_by_class_and_lost_images_survive_a_step_that_writes_the_bundle_again(tmp_path: Path) -> None:
    names = ("bus", "van")
    scores = score_facts(ClassScores(((4, 1), (0, 0)), (True,) * 4 + (False,)), names)
    facts = BundleFacts(top1=0.8, split="test", scores=scores, base_scores=scores)
    assert facts_from_dict(json.loads(json.dumps(dict_from_facts(facts)))) == facts
    assert scores.recall == {"bus": 0.8, "van": None}
    assert scores.confusion is not None
    assert scores.confusion.counts == ((4, 1), (0, 0))
    many = score_facts(ClassScores(((1,) + (0,) * 100,) * 101, (True,)), [str(k) for k in range(101)])
    assert many.confusion is None
    bare = dataclasses.replace(make_parts(), exported=None, certificate=None, build_line=None, facts=facts)
    lost = (("00.png", b"picture"), ("lost.json", b"{}"))
    bundle = write_bundle(tmp_path / "b", dataclasses.replace(bare, lost=lost))
    again = parts_from_bundle(write_bundle(bundle.dir, parts_from_bundle(bundle), replace=True))
    assert (again.lost, again.facts) == (lost, facts)
    assert "`lost_images`" in (bundle.dir / "README.md").read_text()
    assert not (write_bundle(bundle.dir, bare, replace=True).dir / "lost_images").exists()  # of other weights


def test_facts_of_other_versions_are_kept() -> None:
    values = {"top1": 0.5, "miou": {"value": 0.4}}
    facts = facts_from_dict(values)
    assert facts.others == {"miou": {"value": 0.4}}
    assert dict_from_facts(facts) == values


def test_nothing_known_says_nothing() -> None:
    assert dict_from_facts(BundleFacts()) == {}
    assert dict_from_facts(BundleFacts(task_id="t")) == {
        "label_column": None,
        "task_id": "t",
        "search_split_seen_by_base": None,
    }


@pytest.mark.parametrize("values", [{"finetunes": [{"steps": 1}]}, {"budget": {"ms": 3.0}}, {"int8": {"odd": 1}}])
def test_damaged_facts_are_told(values: dict[str, Any]) -> None:
    with pytest.raises(NuwaError, match="facts of a bundle cannot be read"):
        facts_from_dict(values)
