"""The Dockerfiles: pinned, without root or secrets, with commands that the program takes."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nuwa_search.deploy import bundle
from nuwa_search.service.cli.main import COMMANDS
from tests.support.cli_lines import parse_nuwa_line
from tests.support.dockerfiles import exec_form, last_stage, read_dockerfile, texts

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
OURS = [path for path in FILES if path.name != "jetson.Dockerfile"]  # those with this program in them
EXACT_TAG = re.compile(r"[\w./-]+:[a-z]?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?( AS \w+)?")


def test_there_are_three_images() -> None:
    assert [path.name for path in FILES] == ["jetson.Dockerfile", "service.Dockerfile", "trainer.Dockerfile"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
class TestEveryImage:
    def test_bases_are_exact(self, path: Path) -> None:
        for text in texts(read_dockerfile(path), "FROM"):
            assert EXACT_TAG.fullmatch(text), text

    def test_it_does_not_run_as_root(self, path: Path) -> None:
        stage = last_stage(read_dockerfile(path))
        assert texts(stage, "USER") == ["10001"]  # a number: what starts it can tell that it is not root
        words = [entry.word for entry in stage]
        assert "RUN" not in words[words.index("USER") :]
        assert any("useradd" in text and "--uid 10001" in text for text in texts(stage, "RUN"))

    def test_it_says_whether_it_is_well(self, path: Path) -> None:
        (text,) = texts(last_stage(read_dockerfile(path)), "HEALTHCHECK")
        assert "--interval=" in text
        assert "--timeout=" in text
        assert exec_form(text.partition("CMD ")[2])

    def test_no_secret_is_baked_in(self, path: Path) -> None:
        for word in ("ENV", "ARG"):
            for text in texts(read_dockerfile(path), word):
                assert not re.search(r"(?i)password|token|secret|api_?key", text), text

    def test_package_lists_are_not_kept(self, path: Path) -> None:
        for text in texts(read_dockerfile(path), "RUN"):
            if "apt-get install" in text:
                assert "--no-install-recommends" in text
                assert "rm -rf /var/lib/apt/lists/*" in text

    def test_what_is_copied_is_here(self, path: Path) -> None:
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        for text in texts(read_dockerfile(path), "COPY"):
            *sources, _ = [word for word in text.split() if not word.startswith("--")]
            for source in sources:
                if not text.startswith("--from"):
                    assert (ROOT / source).exists(), source
                    assert f"!{source}" in ignored

    def test_hadolint_finds_nothing(self, path: Path) -> None:
        hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
        if hadolint is None:
            pytest.skip("hadolint is not installed")
        done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
class TestOurs:
    def test_its_command_is_one_the_program_takes(self, path: Path) -> None:
        stage = last_stage(read_dockerfile(path))
        assert exec_form(texts(stage, "ENTRYPOINT")[0]) == ["nuwa"]
        line = exec_form(texts(stage, "CMD")[0])
        if line[0] not in COMMANDS:
            pytest.skip(f"nuwa {line[0]} is not there yet")
        parse_nuwa_line(line)

    def test_its_check_is_one_the_program_takes(self, path: Path) -> None:
        (text,) = texts(last_stage(read_dockerfile(path)), "HEALTHCHECK")
        line = exec_form(text.partition("CMD ")[2])
        if line[0] == "nuwa":
            parse_nuwa_line(line[1:])
        else:
            compile(line[-1], "healthcheck", "exec")
            assert "/healthz" in line[-1]

    def test_all_packages_are_copied(self, path: Path) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
        copied = {text.split()[0] for text in texts(read_dockerfile(path), "COPY")}
        assert packages <= copied

    def test_extras_are_the_projects(self, path: Path) -> None:
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        text = path.read_text()
        for extras in re.findall(r"\.\[([a-z,]+)\]|EXTRAS=([a-z,]+)", text):
            assert set("".join(extras).split(",")) <= known.keys()


def test_pins_cover_what_the_project_asks_for() -> None:
    lines = (ROOT / "docker" / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in ("serve", "postgres", "ssh", "plot", "tensorrt"):
        wanted += project["optional-dependencies"][extra]
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, requirement
        assert requirement.specifier.contains(version, prereleases=True), requirement


def test_the_jetson_runs_what_a_bundle_holds() -> None:
    stage = last_stage(read_dockerfile(ROOT / "docker" / "jetson.Dockerfile"))
    # the same line that test_bundle_write runs with a stand-in trtexec
    assert exec_form(texts(stage, "CMD")[0]) == ["sh", bundle.BUILD]
    assert texts(stage, "WORKDIR") == ["/bundle"]
    packages = " ".join(texts(stage, "RUN"))
    assert {"python3-numpy", "python3-pil"} <= set(packages.split())  # what run.py imports beside TensorRT
