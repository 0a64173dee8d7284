"""A bundle for OpenVINO on this CPU, from its export to the images it is right on."""

import json
from pathlib import Path

import pytest

from nuwa_search.latency.devices.host_facts import openvino_spec
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_bundle import write_toy_bundle


@pytest.mark.skipif(openvino_spec() is None, reason="OpenVINO is not installed (extra openvino)")
def test_a_bundle_is_certified_verified_and_evaluated_on_it(
    tmp_path: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    write_toy_bundle(bundle, toy_base, toy_images)

    def nuwa(*args: str) -> dict[str, object]:
        capsys.readouterr()
        assert run(cli, [*args, "--json", "--db", str(tmp_path / "a.sqlite")], prog_name="nuwa") == 0
        answer: dict[str, object] = json.loads(capsys.readouterr().out)
        return answer

    on = ["--device", "openvino"]
    assert nuwa("export", str(bundle), *on, "--budget-ms", "1000")["verdict"] == "met"
    certificate = json.loads((bundle / "certificate.json").read_text())
    assert certificate["device"]["runtime"] == "openvino"
    checks = [agreement["runtime"] for agreement in certificate["agreement"]]
    assert any(runtime.startswith("openvino 20") for runtime in checks)  # it ran what it timed
    assert nuwa("verify", str(bundle), *on)["verdict_now"] == "met"
    found = nuwa("evaluate", str(bundle), *on, "--data", str(toy_images), "--images", "4")
    assert (found["provenance"], found["num_images"]) == ("measured", 4)
    assert found["top1"] == found["top1_pytorch"]
    listed = nuwa("device", "ls")["devices"]
    assert isinstance(listed, list)
    assert "openvino" in {row["name"] for row in listed}
