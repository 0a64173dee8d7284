import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.table.kit import MANIFEST, SCRIPT, import_kit, write_kit
from tests.support import trtexec_standin

SPEC = DeviceSpec("far", "ssh", "tensorrt", "8.2.1", "fp16", opset=13, compute_capability="5.3", memory_mb=4096)
PROTOCOL = MeasureProtocol(min_duration_ms=1000, min_repetitions=10)
SHAPE = Arch(blocks=(), embed_dim=16, num_classes=3, img_size=8, patch_size=4)
NETS = [
    (Arch(**{**vars(SHAPE), "blocks": (BlockSpec(0, 0, 0, 16),) * 2}), "chain"),
    (Arch(**{**vars(SHAPE), "blocks": (BlockSpec(1, 8, 8, 16),)}), "fit"),
]


def export(arch: Arch) -> onnx.ModelProto:
    return onnx_from_arch(arch, opset=13)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "a kit"
    write_kit(folder, [*NETS, NETS[0]], spec=SPEC, protocol=PROTOCOL, export=export)
    return folder


def run_on_board(kit: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the kit's script where ``trtexec`` is the stand-in."""
    binaries = tmp_path / "bin"
    binaries.mkdir(exist_ok=True)
    tool = binaries / "trtexec"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{trtexec_standin.__file__}" "$@"\n')
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "STANDIN_VERSION": "8.2.1"}
    return subprocess.run([kit / SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_a_kit_is_measured_and_comes_back(kit: Path, tmp_path: Path) -> None:
    done = run_on_board(kit, tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    results = import_kit(kit, spec=SPEC, protocol=PROTOCOL)
    assert results.missing == ()
    assert [(arch.arch_id, m.state["role"]) for arch, m in results.models] == [(a.arch_id, r) for a, r in NETS]
    assert all(m.latency_ms.median > 0 and m.samples >= 10 for _, m in results.models)
    assert not list(kit.glob("*.engine"))


def test_a_second_run_measures_nothing_again(kit: Path, tmp_path: Path) -> None:
    run_on_board(kit, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in kit.glob("*.times.json")}
    run_on_board(kit, tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in kit.glob("*.times.json")}


def test_what_is_cut_or_missing_is_named_and_never_guessed(kit: Path, tmp_path: Path) -> None:
    run_on_board(kit, tmp_path)
    first, second = sorted(kit.glob("*.times.json"))
    first.write_text(first.read_text()[:-20])
    second.unlink()
    with pytest.raises(NuwaError, match="not measured yet"):
        import_kit(kit, spec=SPEC, protocol=PROTOCOL)
    run_on_board(kit, tmp_path)  # only the missing one is measured again
    results = import_kit(kit, spec=SPEC, protocol=PROTOCOL)
    assert len(results.models) == 1
    assert len(results.missing) == 1


def test_a_kit_of_another_device_or_protocol_is_refused(kit: Path) -> None:
    with pytest.raises(NuwaError, match="written for device"):
        import_kit(kit, spec=DeviceSpec("near", "ssh", "tensorrt", "8.2.1", "fp16"), protocol=PROTOCOL)
    with pytest.raises(NuwaError, match="another measuring protocol"):
        import_kit(kit, spec=SPEC, protocol=MeasureProtocol())


def test_kits_are_not_written_over_one_another(kit: Path, tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match="not empty"):
        write_kit(kit, NETS, spec=SPEC, protocol=PROTOCOL, export=export)
    with pytest.raises(NuwaError, match="no measuring kit"):
        import_kit(tmp_path, spec=SPEC, protocol=PROTOCOL)


def test_a_damaged_manifest_is_said(kit: Path) -> None:
    path = kit / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": [{"name": "x"}]}))
    with pytest.raises(NuwaError, match="damaged"):
        import_kit(kit, spec=SPEC, protocol=PROTOCOL)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", 7, None])
def test_a_name_in_a_kit_never_leaves_its_folder(kit: Path, tmp_path: Path, name: object) -> None:
    """Measured files lie beside the kit; a manifest that names them must not reach them."""
    run_on_board(kit, tmp_path)
    values = json.loads((kit / MANIFEST).read_text())
    for ending in (".times.json", ".log"):
        (tmp_path / f"outside{ending}").write_bytes((kit / f"{values['files'][0]['name']}{ending}").read_bytes())
    values["files"][0]["name"] = name
    (kit / MANIFEST).write_text(json.dumps(values))
    with pytest.raises(NuwaError, match="the name of a net must be"):
        import_kit(kit, spec=SPEC, protocol=PROTOCOL)


def test_a_time_beyond_all_numbers_is_not_measured(kit: Path, tmp_path: Path) -> None:
    run_on_board(kit, tmp_path)
    for path in kit.glob("*.times.json"):
        rows = json.loads(path.read_text())
        path.write_text(json.dumps(rows).replace(json.dumps(rows[3]["latencyMs"]), "1e999"))
    with pytest.raises(NuwaError, match="not measured"):
        import_kit(kit, spec=SPEC, protocol=PROTOCOL)
