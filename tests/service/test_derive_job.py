"""``nuwa derive`` from the command line: a bundle that knows where it comes from."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.base import load_base
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.store import open_store


@pytest.mark.slow
def test_what_follows_a_derivation_needs_no_word_about_base_and_data(
    tmp_path: Path,
    toy_base: Path,
    toy_images: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = load_base(str(toy_base)).arch
    arch = tmp_path / "arch.json"
    thin = replace(base.blocks[0], mlp_width=base.blocks[0].mlp_width // 2)
    arch.write_text(json.dumps(dict_from_arch(replace(base, img_size=12, blocks=(thin, *base.blocks[1:])))))
    common = ["--db", str(tmp_path / "nuwa.sqlite"), "--cache-dir", str(tmp_path / "cache"), "--json"]

    monkeypatch.chdir(toy_base.parent)
    places = ["--base", f".{os.sep}{toy_base.name}", "--data", os.path.relpath(toy_images), "--img-size", "12x12"]
    assert run(cli, ["derive", "--arch", str(arch), *places, "-o", str(tmp_path / "d"), *common], prog_name="nuwa") == 0
    answer = json.loads(capsys.readouterr().out)
    bundle = read_bundle(tmp_path / "d")
    assert bundle.arch.blocks[0].mlp_width == thin.mlp_width
    assert (bundle.arch.img_size, bundle.preprocess.img_size) == (12, 12)
    assert bundle.subnet_id == answer["subnet_id"]
    assert bundle.facts.base == str(toy_base)
    assert bundle.facts.base_licence == "unknown"
    readme = (bundle.dir / "README.md").read_text()
    assert f"The licence of base `{toy_base}` is unknown" in readme
    for told in (readme, "\n".join(answer["missing"])):  # a fresh bundle says what it lacks
        for word in ("nuwa export", "nuwa evaluate", "nuwa finetune", "none of these"):
            assert word in told
    assert Path(bundle.facts.data or "").is_absolute()
    assert bundle.facts.kl_to_teacher_derived == answer["kl_to_teacher"] > 0

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run(cli, ["finetune", str(bundle.dir), "--finetune-steps", "2", *common], prog_name="nuwa") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    after = read_bundle(bundle.dir).facts
    assert after.top1_search_derived == answer["top1_search"]
    assert [done.steps for done in after.finetunes] == [2]
    assert run(cli, ["evaluate", str(bundle.dir), "--json"], prog_name="nuwa") == 0
    found = json.loads(capsys.readouterr().out)
    assert tuple(found["classes"]) == bundle.labels
    assert (found["split"], found["num_images"]) == ("test", 30)

    again = ["derive", "--subnet", answer["subnet_id"], "-o", str(tmp_path / "again"), *common]
    assert run(cli, again, prog_name="nuwa") == 0
    assert json.loads(capsys.readouterr().out)["is_same"]  # at the size that its base was stored with

    assert run(cli, ["export", str(bundle.dir), "--budget-ms", "50", *common[:2], "--json"], prog_name="nuwa") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "met (emulated)"
    readme = (bundle.dir / "README.md").read_text()
    assert "`nuwa export" not in readme
    assert "`nuwa finetune" not in readme
    assert run(cli, ["build", str(bundle.dir), *common[:2], "--json"], prog_name="nuwa") == 0
    with open_store(common[1]) as store:
        lineage = find_lineage(store, answer["subnet_id"])
        row = store.subnets.find()[0]
    assert row["subnet_id"] == answer["subnet_id"]
    assert row["measured_latency_ms"] is not None
    assert row["measured_latency_ms"] > 0
    assert (row["split"], row["bundle_is_missing"]) == ("search", False)
    assert [one.result["steps"] for one in lineage.finetunings] == [2]
    assert [one.path for one in lineage.exports] == [str(bundle.dir / "model.onnx")]
    assert ["trtexec" in one.command for one in lineage.engines] == [True]
    assert [one.device for one in lineage.measurements] == ["jetson-nano"]
