"""One subnet for several boards: searched, shipped, proven on each, and refused by name where it cannot be."""

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from nuwa_search.core.base import load_base
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.latency.devices.find import find_device
from nuwa_search.predictors.device_predictor import transfer_profile
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from nuwa_search.store.wanted import SubnetFilter
from tests.support.made_once import made_once

FIRST, SECOND = "jetson-nano", "jetson-nano-5w"


@pytest.fixture(scope="session")
def boards_db(tmp_path_factory: pytest.TempPathFactory, profiled_db: Path, toy_base: Path) -> Path:
    """A database in which the toy base is known on two boards; the second's predictor is the first's, scaled."""

    def make(folder: Path) -> None:
        folder.mkdir()
        shutil.copy(profiled_db, folder / "nuwa.sqlite")
        with open_store(str(folder / "nuwa.sqlite")) as store:
            second, first = (find_device(name, store) for name in (SECOND, FIRST))
            transfer_profile(store, second, load_base(str(toy_base)).arch, source=first)

    return made_once(tmp_path_factory, "two-boards", make) / "nuwa.sqlite"


class Job:
    """Searches of the toy base on two boards."""

    def __init__(
        self, folder: Path, boards: Path, base: Path, images: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.db, self.capsys = folder, str(shutil.copy(boards, folder / "nuwa.sqlite")), capsys
        self.base = str(base)
        self.common = ["--base", self.base, "--data", str(images), "--trials", "5", "--no-finetune", "--db", self.db]
        self.common += ["--cache-dir", str(folder / "cache"), "-o", str(folder / "bundle"), "--study", "mine", "--json"]

    def search(self, *more: str, code: int = 0) -> tuple[dict[str, Any], str]:
        found = run(command, [*self.common, *more], prog_name="nuwa-search")
        captured = self.capsys.readouterr()
        assert found == code, captured.err
        return json.loads(captured.out or "{}"), captured.err

    def nuwa(self, *args: str, code: int = 0) -> tuple[dict[str, Any], str]:
        assert run(cli, [*args, "--db", self.db, "--json"], prog_name="nuwa") == code
        captured = self.capsys.readouterr()
        return json.loads(captured.out), captured.err

    def base_ms(self, device: str) -> float:
        found: float = self.nuwa("measure", self.base, "--device", device)[0]["latency_ms"]["median"]
        return found


@pytest.fixture
def job(tmp_path: Path, boards_db: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(tmp_path, boards_db, toy_base, toy_images, capsys)


def test_one_subnet_is_shipped_with_a_certificate_per_board(job: Job) -> None:
    budgets = {name: round(0.8 * job.base_ms(name), 3) for name in (FIRST, SECOND)}
    asked = [word for name, ms in budgets.items() for word in ("--budget-ms", f"{ms}@{name}")]
    answer, told = job.search(*asked)

    assert (answer["feasible"], answer["verdict"]) == (True, "met (emulated)")
    assert (answer["budget_ms"], answer["device"]["name"]) == (budgets[FIRST], FIRST)
    assert [(one["device"], one["budget_ms"], one["met"]) for one in answer["budgets"]] == [
        (name, ms, True) for name, ms in budgets.items()
    ]
    first, second = answer["budgets"]
    assert all(one["measured_latency_ms"] <= one["budget_ms"] < one["base_latency_ms"] for one in (first, second))
    assert first["measured_latency_ms"] == answer["subnet"]["measured_latency_ms"]
    assert first["dir"] == answer["artifacts"]["dir"]
    assert second["dir"] == str(job.folder / "bundle" / "devices" / SECOND)
    assert f"ms emulated on {SECOND}" in told

    # a whole bundle for each board, with its graph and certificate
    for one in answer["budgets"]:
        bundle = read_bundle(Path(one["dir"]))
        assert bundle.certificate is not None
        assert bundle.certificate.device.name == one["device"]
        assert bundle.certificate.budget is not None
        assert bundle.certificate.budget.ms == one["budget_ms"]
        assert bundle.certificate.is_met
        assert bundle.subnet_id == answer["subnet"]["subnet_id"]
        assert bundle.onnx_path is not None
        assert onnx.load(bundle.onnx_path).graph.input
        found, _ = job.nuwa("verify", str(job.folder / "bundle"), "--device", one["device"])
        assert (found["is_good"], found["verdict_now"]) == (True, "met (emulated)")
        assert found["budget_ms"] == one["budget_ms"]
        assert found["dir"] == one["dir"]
    with open_store(job.db) as store:
        rows = store.certificates.find()
        assert {(row["device"], row["verdict"], row["budget_ms"]) for row in rows} == {
            (name, "met (emulated)", ms) for name, ms in budgets.items()
        }
        for name in (FIRST, SECOND):
            found_rows = store.subnets.find(SubnetFilter(device=name))
            assert len(found_rows) >= 5  # every scored subnet is predicted on each board
        assert store.bundle_dir_of(answer["subnet"]["subnet_id"]) == str(job.folder / "bundle")

    # the study goes on under the same budgets only
    changed = ["--budget-ms", f"{budgets[FIRST]}@{FIRST}", "--budget-ms", f"9@{SECOND}"]
    _, told = job.search("--resume", *changed, code=2)
    assert (
        f"study 'mine' was started with --budget-ms {budgets[SECOND]}@{SECOND}, not with --budget-ms 9@{SECOND}" in told
    )
    _, told = job.search("--resume", "--budget-ms", str(budgets[FIRST]), code=2)
    assert "not without a further --budget-ms" in told
    again, _ = job.search("--resume", *asked)
    assert again["subnet"]["subnet_id"] == answer["subnet"]["subnet_id"]
    assert [one["predictor_id"] for one in again["budgets"]] == [one["predictor_id"] for one in answer["budgets"]]

    # an export for one board leaves the other's bundle as it is; new weights are in both, and each keeps its budget
    before = (Path(second["dir"]) / "certificate.json").read_text()
    job.nuwa("export", str(job.folder / "bundle"), "--device", FIRST, "-y")
    assert (Path(second["dir"]) / "certificate.json").read_text() == before
    job.nuwa("finetune", str(job.folder / "bundle"), "--finetune-steps", "1", "--cache-dir", str(job.folder / "cache"))
    weights = [(Path(one["dir"]) / "model.safetensors").read_bytes() for one in answer["budgets"]]
    assert weights[0] == weights[1]
    exported, _ = job.nuwa("export", str(job.folder / "bundle"), "--device", SECOND)
    assert (exported["dir"], exported["verdict"]) == (second["dir"], "met (emulated)")


def test_a_board_whose_budget_nothing_keeps_is_named(job: Job) -> None:
    answer, told = job.search("--budget-ms", f"50@{FIRST}", "--budget-ms", f"0.001@{SECOND}", code=1)
    assert answer["feasible"] is False
    assert f"no subnet fits 0.001 ms (median) on {SECOND}: the fastest reachable there is predicted at" in told
    assert f"on {FIRST}: the fastest" not in told
    assert f"hint: give at least --budget-ms 50@{FIRST} --budget-ms " in told
    first, second = answer["budgets"]
    assert answer["fastest"] == first["fastest"]
    assert second["fastest"]["predicted_latency_ms"] > 0.001
    assert (first["met"], second["met"], second["measured_latency_ms"]) == (None, None, None)


def test_a_dry_run_tells_of_each_board(job: Job) -> None:
    plan, _ = job.search("--budget-ms", f"50@{FIRST}", "--budget-ms", f"0.5@{SECOND}", "--dry-run")
    assert (plan["budget_ms"], plan["device"], plan["more_budgets"]) == (50, FIRST, [f"0.5@{SECOND}"])
    assert [(one["device"], one["budget_binds"]) for one in plan["base_latencies"]] == [(FIRST, False), (SECOND, True)]
    assert plan["base_latency"] == plan["base_latencies"][0]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--budget-ms", "30", "--budget-ms", f"8@{SECOND}"], "--budget-ms was given 2 times, and 30 names no device"),
        (["--budget-ms", "30", "--budget-ms", "8"], "--budget-ms was given 2 times, and 30 names no device"),
        (["--budget-ms", f"30@{FIRST},8@{FIRST}"], f"two budgets for {FIRST}: 30@{FIRST} and 8@{FIRST}"),
        (["--budget-ms", f"30@{FIRST}", "--device", SECOND], f"--device was given, and --budget-ms 30@{FIRST} names"),
        (["--budget-ms", "30@"], "--budget-ms 30@: no device stands behind the @"),
        (["--budget-ms", f"x@{FIRST}"], "wanted a number, found 'x'"),
        (["--budget-ms", f"30@{FIRST}", "--budget-ms", "8@jetson-nona"], "unknown device 'jetson-nona'"),
    ],
)
def test_budgets_that_contradict_each_other_are_refused(job: Job, args: list[str], message: str) -> None:
    _, told = job.search(*args, code=2)
    assert message in told


def test_budgets_come_from_settings_too(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nuwa.toml").write_text(f'budget-ms = "50@{FIRST},0.5@{SECOND}"\ndevice = "host"\n')
    monkeypatch.setenv("NUWA_KEEP", "blocks.0.attn blocks.1")
    plan, _ = job.search("--budget-ms", f"50@{FIRST}", "--dry-run")  # stronger than the file, its device too
    assert (plan["device"], plan["more_budgets"], plan["keep"]) == (FIRST, [], ["blocks.0.attn", "blocks.1"])
    (tmp_path / "nuwa.toml").write_text(f'budget-ms = "50@{FIRST},0.5@{SECOND}"\n')
    plan, _ = job.search("--dry-run")
    assert (plan["device"], plan["more_budgets"]) == (FIRST, [f"0.5@{SECOND}"])
