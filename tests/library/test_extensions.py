"""Another package's kind of device and runtime: found by entry points, and held against the contracts."""

import json
import tomllib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import pytest

import nuwa_search
from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.device import Device
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.extensions import extensions, runtime_maker
from nuwa_search.core.runtime import Runtime
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.cpu_graph import load_session, open_graph
from nuwa_search.latency.devices.registry import builtin_specs, device_spec, open_device
from nuwa_search.service.cli.main import cli, run
from nuwa_search.testing.device import TINY, DeviceContract
from nuwa_search.testing.runtime import RuntimeContract

PACKAGE = Path(__file__).resolve().parents[2] / "examples" / "extension"


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """Write what pip writes of a package's entry points."""
    info = folder / f"{name}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the example as pip would: its folder is on the path, its entry points beside it."""
    named = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    site.mkdir()
    install(site, named["name"], named["entry-points"])
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.syspath_prepend(str(site))
    extensions.cache_clear()
    yield
    extensions.cache_clear()


@pytest.fixture
def device() -> Device:
    return open_device(device_spec("counted"))


@pytest.fixture
def runtime() -> Runtime:
    return runtime_maker("onnx-reference")(threads=1)


class TestCounted(DeviceContract):
    """The example's kind of device."""


class TestReference(RuntimeContract):
    """The example's runtime."""


def test_every_verb_knows_the_device(tmp_path: Path, toy_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = toy_db
    assert run(cli, ["device", "ls", "--json", "--db", str(db)], prog_name="nuwa") == 0
    listed = {row["name"]: row["runtime"] for row in json.loads(capsys.readouterr().out)["devices"]}
    assert listed["counted"] == "formula"
    assert listed["onnx-reference"] == "onnx-reference"
    with nuwa_search.open(db) as lab:
        arch = tmp_path / "arch.json"
        arch.write_text(json.dumps(dict_from_arch(TINY)))
        found = lab.measure(arch, device="counted")
        assert lab.query("latencies", device="counted").to_frame()["latency_ms"].tolist() == [found.latency_ms.median]
    spec = builtin_specs()["counted"]
    graph = onnx_from_arch(TINY, opset=spec.opset, precision="fp32", batch=1)
    assert found.latency_ms.median == sum(prod(tensor.dims) for tensor in graph.graph.initializer) / 1000


def test_this_cpu_times_models_in_the_runtime() -> None:
    spec = device_spec("onnx-reference")
    assert (spec.kind, spec.runtime, spec.runtime_version) == ("host", "onnx-reference", "0.1.0")
    content = onnx_from_arch(TINY, opset=spec.opset, precision="fp32", batch=1).SerializeToString()
    opened = open_graph(content, spec=spec, seed=0)
    opened.run()
    assert opened.feeds["images"].shape == (1, 3, 8, 8)
    session, said = load_session(content, spec=spec)
    assert said.startswith("onnx-reference ")
    assert session.run(opened.feeds["images"]).shape == (1, 3)


def test_a_broken_or_doubled_extension_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    install(broken, "broken-boards", {"nuwa_search.devices": {"broken": "no_such_module"}})
    monkeypatch.syspath_prepend(str(broken))
    extensions.cache_clear()
    with pytest.warns(nuwa_search.NuwaWarning, match="broken-boards brings 'broken', and no_such_module cannot"):
        assert "counted" in builtin_specs()
    install(broken, "other-counted", {"nuwa_search.devices": {"counted": "elsewhere"}})
    extensions.cache_clear()
    with pytest.raises(NuwaError, match="two packages bring 'counted'"):
        builtin_specs()
