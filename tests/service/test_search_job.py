"""The main job on a toy base: real searches, real bundles, in seconds."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from nuwa_search.core.arch import BlockSpec, arch_from_dict
from nuwa_search.core.cost import count_params
from nuwa_search.search.derive_command import derive_command
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.found_rows import CertificateFound, SubnetFound
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.store import open_store
from tests.support.toy_images import write_colours


class Job:
    """One database, cache and folder of bundles for a few searches."""

    def __init__(self, db: Path, base: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.db = db.parent, str(db)
        self.common = ["--base", str(base), "--data", str(images), "--trials", "6", "--finetune-steps", "4"]
        self.capsys = capsys

    def args(self, *more: str, bundle: str = "bundle") -> list[str]:
        place = ["--db", self.db, "--cache-dir", str(self.folder / "cache"), "-o", str(self.folder / bundle)]
        return [*self.common, *place, "--json", "-q", *more]

    def search(self, *more: str, code: int = 0, bundle: str = "bundle") -> dict[str, Any]:
        found = run(command, self.args(*more, bundle=bundle), prog_name="nuwa-search")
        captured = self.capsys.readouterr()
        assert found == code, captured.err
        document: dict[str, Any] = json.loads(captured.out)
        return document

    def base_ms(self) -> float:
        base = self.common[1]
        assert run(cli, ["measure", base, "--db", self.db, "--json"], prog_name="nuwa") == 0
        found: float = json.loads(self.capsys.readouterr().out)["latency_ms"]["median"]
        return found


@pytest.fixture
def job(toy_db: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(toy_db, toy_base, toy_images, capsys)


def test_the_whole_way(job: Job, toy_base: Path) -> None:
    budget = 0.6 * job.base_ms()
    answer = job.search("--budget-ms", f"{budget:.3f}", "--explain", "--pareto")

    assert answer["schema"] == "nuwa.search/1"
    assert answer["feasible"]
    assert answer["budget_binds"]
    assert answer["verdict"] == "met (emulated)"
    subnet, base = answer["subnet"], answer["base"]
    assert subnet["measured_latency_ms"] <= budget < base["latency_ms"]
    assert subnet["predicted_interval_ms"][0] <= subnet["predicted_latency_ms"] <= subnet["predicted_interval_ms"][1]
    assert subnet["board_interval_ms"][0] < subnet["measured_latency_ms"] < subnet["board_interval_ms"][1]
    assert 0 <= subnet["top1"] <= 1
    assert subnet["split"] == "test"
    assert (answer["task"]["num_train"], answer["task"]["num_search"], answer["task"]["num_test"]) == (72, 18, 30)
    assert answer["trials"]["scored"] == 6

    # really smaller: the shapes of the arch are those of the weights and of the graph
    arch = arch_from_dict(subnet["arch"])
    tensors = load_file(answer["artifacts"]["weights"])
    assert sum(t.size for t in tensors.values()) == subnet["params"] == count_params(arch) < base["params"]
    kept = [b for b in arch.blocks if not b.is_empty]
    for place, block in enumerate(kept):
        if block.has_mlp:
            assert tensors[f"blocks.{place}.mlp.fc1.weight"].shape == (block.mlp_width, arch.embed_dim)
        if block.has_attn:
            width = block.num_heads * (2 * block.qk_dim + block.v_dim)
            assert tensors[f"blocks.{place}.attn.qkv.weight"].shape == (width, arch.embed_dim)
    graph = onnx.load(answer["artifacts"]["onnx"])
    assert {o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")} == {13}
    constants = sum(int(np.prod(t.dims)) for t in graph.graph.initializer)
    assert constants < 1.1 * subnet["params"]

    certificate = json.loads(Path(answer["artifacts"]["certificate"]).read_text())
    assert certificate["verdict"] == "met (emulated)"
    assert {a["check"] for a in certificate["agreement"]} == {"fp32", "fp16"}
    assert "trtexec --onnx=model.onnx" in Path(answer["artifacts"]["build"]).read_text()
    assert Path(answer["artifacts"]["front"]).stat().st_size > 0

    with open_store(job.db) as store:
        rows = store.subnets.find(limit=None)
        studies = store.studies.find()
    assert len({row["subnet_id"] for row in rows}) == len(rows) >= 6  # trials are different nets
    winner = next(row for row in rows if row["subnet_id"] == subnet["subnet_id"])
    assert winner["measured_latency_ms"] == subnet["measured_latency_ms"]
    assert winner["predicted_latency_ms"] == pytest.approx(subnet["predicted_latency_ms"])
    assert (winner["top1"], winner["split"]) == (subnet["top1"], "test")
    assert studies[0]["state"] == "done"
    assert studies[0]["seconds"] == answer["seconds"]
    assert all(answer["seconds"][stage] > 0 for stage in ("statistics", "cuts", "study", "finetune", "verify"))
    assert answer["front"]
    for point in answer["front"]:  # named by the net that was scored, as the database has it
        row = next(row for row in rows if row["subnet_id"] == point["subnet_id"])
        assert (row["arch_id"], row["predicted_latency_ms"]) == (point["arch_id"], point["predicted_latency_ms"])
        assert point["derive_command"] == derive_command(point["subnet_id"], db=job.db)

    # the bundle runs alone, and verifies
    bundle = Path(answer["artifacts"]["dir"])
    image = next((bundle / "samples").iterdir())
    done = subprocess.run(
        [sys.executable, "-I", "run.py", str(image), "--json"], cwd=bundle, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)
    assert run(cli, ["verify", str(bundle), "--device", "host", "--json"], prog_name="nuwa") == 0
    assert json.loads(job.capsys.readouterr().out)["is_good"]
    weights = Path(answer["artifacts"]["onnx"])
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert run(cli, ["verify", str(bundle)], prog_name="nuwa") == 1
    assert "model.onnx was changed" in job.capsys.readouterr().err


@pytest.mark.slow
def test_what_becomes_of_a_shipped_bundle_is_in_the_database(job: Job) -> None:
    answer = job.search("--budget-ms", f"{0.6 * job.base_ms():.3f}", "--study", "mine", "--no-finetune")
    identity, folder = answer["subnet"]["subnet_id"], answer["artifacts"]["dir"]
    common = ["--db", job.db, "--json", "-y"]

    def row() -> SubnetFound:
        with open_store(job.db) as store:
            return next(row for row in store.subnets.find(limit=None) if row["subnet_id"] == identity)

    def certificates() -> list[CertificateFound]:
        with open_store(job.db) as store:
            return store.certificates.find()

    assert (row()["top1"], row()["split"]) == (answer["subnet"]["top1"], "test")
    assert len(certificates()) == 1

    copy = job.folder / "copy"
    shutil.copytree(folder, copy)
    tune = ["--finetune-steps", "2", "--cache-dir", str(job.folder / "cache")]
    assert run(cli, ["finetune", str(copy), *tune, *common], prog_name="nuwa") == 0
    assert row()["split"] == "test", "the shipped bundle is as it was"

    assert run(cli, ["finetune", folder, *tune, *common], prog_name="nuwa") == 0
    with open_store(job.db) as store:
        kinds = {(score.kind, score.split) for score in store.scores(identity)}
        assert len(find_lineage(store, identity).finetunings) >= 1
    assert {("top1_before_finetune", "test"), ("top1", "search")} <= kinds
    assert row()["split"] == "search", "the accuracy on the test split was that of other weights"
    assert certificates() == []

    assert run(cli, ["export", folder, "--device", "host", *common], prog_name="nuwa") == 0
    with open_store(job.db) as store:
        assert {one.device for one in find_lineage(store, identity).measurements} == {"jetson-nano", "host"}


def test_same_seed_and_predictor_same_winner(job: Job) -> None:
    budget = f"{0.6 * job.base_ms():.3f}"
    first = job.search("--budget-ms", budget, bundle="a")
    again = job.search("--budget-ms", budget, "--predictor", first["predictor_id"], bundle="b")
    assert first["subnet"]["subnet_id"] == again["subnet"]["subnet_id"]
    one, two = (load_file(answer["artifacts"]["weights"]) for answer in (first, again))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_nothing_fits(job: Job) -> None:
    answer = job.search("--budget-ms", "0.01", code=1)
    assert answer["feasible"] is False
    assert answer["fastest"]["predicted_latency_ms"] > 0.01
    assert not (job.folder / "bundle").exists()


def test_a_budget_that_does_not_bind(job: Job) -> None:
    answer = job.search("--budget-ms", "50", "--no-finetune")
    assert answer["budget_binds"] is False
    assert answer["feasible"]
    assert answer["shipped"] in ("base", "subnet")


def test_classes_the_base_does_not_know(job: Job, tmp_path: Path) -> None:
    images = write_colours(tmp_path / "others", ("cold", "leafy", "warm"))
    answer = job.search("--budget-ms", f"{0.8 * job.base_ms():.3f}", "--data", str(images))
    assert answer["task"]["head_fitted"]
    assert answer["task"]["search_split_seen_by_base"] is None
    assert answer["base"]["top1_all_classes"] is None
    assert answer["task"]["classes"] == ["cold", "leafy", "warm"]
    assert answer["base"]["top1_restricted"] > 0.5  # colours are easy even on random features


def test_a_finished_study_is_not_started_anew(job: Job) -> None:
    budget = f"{0.6 * job.base_ms():.3f}"
    job.search("--budget-ms", budget, "--study", "mine", "--no-finetune")
    assert run(command, job.args("--budget-ms", budget, "--study", "mine"), prog_name="nuwa-search") == 2
    err = job.capsys.readouterr().err
    assert "exists already" in err
    assert "--resume" in err


def test_interrupted_and_resumed_repeats_no_trial(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from nuwa_search.search.workers import Workers

    budget = f"{0.6 * job.base_ms():.3f}"
    evaluations: list[Any] = []
    real = Workers.submit

    def stop_after_three(self: Any, arch: Any, **more: Any) -> Any:
        if len(evaluations) == 3:
            raise KeyboardInterrupt
        evaluations.append(arch)
        return real(self, arch, **more)

    monkeypatch.setattr(Workers, "submit", stop_after_three)
    args = [a for a in job.args("--budget-ms", budget, "--study", "broken") if a != "-q"]
    assert run(command, args, prog_name="nuwa-search") == 130
    assert "nuwa-search --study broken --resume" in job.capsys.readouterr().err
    monkeypatch.undo()
    answer = job.search("--study", "broken", "--resume")
    assert answer["trials"]["scored"] == 6
    whole = job.search("--budget-ms", budget, "--study", "unbroken", "--predictor", answer["predictor_id"], bundle="c")
    assert whole["subnet"]["subnet_id"] == answer["subnet"]["subnet_id"]


def test_a_folder_that_is_no_bundle_is_refused_at_once(job: Job) -> None:
    (job.folder / "bundle").mkdir()
    (job.folder / "bundle" / "thesis.tex").write_text("years of work")
    assert run(command, job.args("--budget-ms", "1"), prog_name="nuwa-search") == 2
    assert "exists and is not a bundle" in job.capsys.readouterr().err
    assert [p.name for p in (job.folder / "bundle").iterdir()] == ["thesis.tex"]


def test_without_deploying_the_weights_stay(job: Job) -> None:
    keep = ["--keep", "blocks.0.mlp", "--keep", "blocks.2"]
    answer = job.search("--budget-ms", f"{0.85 * job.base_ms():.3f}", "--no-deploy", "--no-finetune", *keep)
    assert answer["kept"] == ["blocks.0.mlp", "blocks.2.attn", "blocks.2.mlp"]
    first, _, last = arch_from_dict(answer["subnet"]["arch"]).blocks
    assert (first.mlp_width, last) == (192, BlockSpec(3, 16, 16, 192))
    files = answer["artifacts"]
    assert Path(files["weights"]).exists()
    assert files["onnx"] is files["certificate"] is None
    bundle = ["export", files["dir"], "--device", "jetson-nano", "--json"]
    assert run(cli, bundle, prog_name="nuwa") == 0
    assert (Path(files["dir"]) / "model.onnx").exists()


def test_resuming_under_another_budget_is_refused(job: Job) -> None:
    budget = f"{0.6 * job.base_ms():.3f}"
    job.search("--budget-ms", budget, "--study", "mine", "--no-finetune")
    args = job.args("--budget-ms", "99", "--study", "mine", "--resume")
    assert run(command, args, prog_name="nuwa-search") == 2
    assert "was started with --budget-ms" in job.capsys.readouterr().err
