"""Push and pull, with a folder that plays the Hub at the edge of its client."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from nuwa_search.core.base import load_base
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.hub.card import front_matter, without_front_matter
from nuwa_search.deploy.verify_bundle import verify_bundle
from nuwa_search.deploy.write_bundle import write_bundle
from nuwa_search.service.cli.main import cli, run
from tests.deploy.bundle_parts import make_parts
from tests.support.toy_base import write_toy_base


class PlayedHub:
    """A folder per repository; every call goes through the client's own names."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, dict[str, bool]()
        self.error: Exception | None = None

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        if self.error is not None:
            raise self.error
        self.made.setdefault(name, private)

    def create_commit(
        self, name: str, operations: Any, *, commit_message: str, revision: str | None
    ) -> SimpleNamespace:
        for operation in operations:
            path = self.root / name / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            given = operation.path_or_fileobj
            path.write_bytes(given if isinstance(given, bytes) else Path(given).read_bytes())
        return SimpleNamespace(commit_url=f"https://hub/{name}/commit/1")

    def snapshot_download(self, name: str, *, revision: str | None, local_dir: str, library_name: str) -> str:
        if not (self.root / name).is_dir():
            raise RepositoryNotFoundError("404", response=_response(404))
        shutil.copytree(self.root / name, local_dir, dirs_exist_ok=True)
        (Path(local_dir) / ".cache").mkdir()
        (Path(local_dir) / ".gitattributes").write_text("lfs")
        return local_dir


def _response(status: int) -> Any:
    import httpx2

    return httpx2.Response(status, request=httpx2.Request("GET", "https://hub"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedHub:
    played = PlayedHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: played)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", played.snapshot_download)
    return played


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    parts = make_parts()
    assert parts.certificate is not None
    facts = replace(parts.certificate.facts, data="/home/me/images")
    return write_bundle(tmp_path / "b", replace(parts, certificate=replace(parts.certificate, facts=facts)))


def nuwa(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = run(cli, [*words, "--json"], prog_name="nuwa")
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_a_bundle_comes_back_as_it_was_certified(
    hub: PlayedHub, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle.dir / "notes.txt").write_text("mine")
    code, pushed, said = nuwa(capsys, "push", str(bundle.dir), "toy/bus")
    assert code == 0
    assert "name where base and images lie here: /home/me/images" in said
    assert hub.made == {"toy/bus": True}  # private, unless asked for
    assert (pushed["kind"], pushed["licence"], pushed["url"]) == ("bundle", "unknown", "https://hub/toy/bus/commit/1")
    assert "2 files of your images go along: samples/\n" in said
    assert "licence of the base is unknown" in said
    assert "notes.txt" not in pushed["files"]
    card = (tmp_path / "hub/toy/bus/README.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["license"] == "unknown"
    assert matter["pipeline_tag"] == "image-classification"
    assert matter["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.9}]
    assert matter["model-index"][0]["results"][0]["dataset"]["split"] == "test"

    code, pulled, _ = nuwa(capsys, "pull", "hf-hub:toy/bus", "-o", str(tmp_path / "back"))
    assert (code, pulled["kind"], pulled["is_certified"]) == (0, "bundle", True)
    again = read_bundle(tmp_path / "back")
    assert (again.certificate, again.labels) == (bundle.certificate, bundle.labels)
    assert verify_bundle(again).files.is_intact
    assert not {".cache", ".gitattributes", "notes.txt"} & {path.name for path in again.dir.iterdir()}
    assert nuwa(capsys, "pull", "toy/bus", "-o", str(tmp_path / "back"))[0] == 2  # is there already


def test_a_bundle_that_was_changed_is_not_pushed_and_one_changed_there_is_told(
    hub: PlayedHub, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nuwa(capsys, "push", str(bundle.dir), "toy/bus")
    (tmp_path / "hub/toy/bus/run.py").write_text("raise SystemExit('was run')")
    code, pulled, said = nuwa(capsys, "pull", "toy/bus", "-o", str(tmp_path / "back"))
    assert (code, pulled["is_certified"]) == (1, False)
    assert "not as certified: run.py" in said
    assert "run.py are not the programs of this version" in said
    (bundle.dir / "labels.txt").write_text("\n".join("abcdefg") + "\n")
    code, _, said = nuwa(capsys, "push", str(bundle.dir), "toy/bus")
    assert code == 2
    assert "is not as it was certified: labels.txt" in said


def test_a_dry_run_pushes_nothing(hub: PlayedHub, bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    code, pushed, _ = nuwa(capsys, "push", str(bundle.dir), "toy/bus", "--dry-run", "--public")
    assert (code, pushed["url"], pushed["is_private"], hub.made) == (0, None, False, {})
    assert {"README.md", "model.onnx", "samples/bus.png"} <= set(pushed["files"])
    assert pushed["size_mb"] > 0


def test_a_base_goes_there_and_back(hub: PlayedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_toy_base(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"license": "Custom-1.0"}))
    (folder / "notes.txt").write_text("mine")
    code, pushed, _ = nuwa(capsys, "push", str(folder), "toy/base")
    assert (code, pushed["kind"], pushed["licence"]) == (0, "base", "Custom-1.0")
    assert "notes.txt" not in pushed["files"]
    card = (tmp_path / "hub/toy/base/README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license_name"] == "Custom-1.0"
    code, pulled, _ = nuwa(capsys, "pull", "toy/base", "-o", str(tmp_path / "back"))
    assert (code, pulled["kind"], pulled["is_certified"]) == (0, "base", None)
    assert load_base(str(tmp_path / "back")).base_id == load_base(str(folder)).base_id


def test_what_goes_wrong_is_told_with_its_code(
    hub: PlayedHub, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code, told in (
        (("push", str(bundle.dir), "no-owner"), 2, "names no repository"),
        (("push", str(tmp_path), "toy/x"), 2, "neither a bundle nor a base"),
        (("pull", "toy/absent", "-o", str(tmp_path / "x")), 3, "hf auth login"),
        (("pull", "toy/absent"), 2, "-o DIR"),
    ):
        found, _, said = nuwa(capsys, *words)
        assert (found, told in said) == (code, True), said
    hub.error = HfHubHTTPError("403 forbidden", response=_response(403))
    found, _, said = nuwa(capsys, "push", str(bundle.dir), "toy/x")
    assert (found, "403 forbidden" in said) == (3, True)
    assert not list(tmp_path.glob(".*partial*"))


def test_front_matter_is_yaml_and_comes_off_again() -> None:
    facts = BundleFacts(base="hf-hub:timm/vit@abc", top1=0.5, split="test")
    for licence, name in (("MIT", "mit"), ("dinov3-license", "other"), (None, "unknown")):
        text = front_matter(licence, facts, name="a/b")
        matter = yaml.safe_load(text.split("---\n")[1])
        assert matter["license"] == name
        assert matter["base_model"] == "timm/vit"
        assert without_front_matter(text + "# Title\n\n---\nrest\n") == "# Title\n\n---\nrest\n"
    assert without_front_matter("# no front matter\n---\n") == "# no front matter\n---\n"
