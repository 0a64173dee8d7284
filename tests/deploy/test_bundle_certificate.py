"""The certificate's verdict, and its way to JSON and back."""

import dataclasses
import json
import math
from typing import Any

import pytest

from nuwa_search.core.budget import Budget
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.certificate import certificate_from_dict, dict_from_certificate, with_files
from tests.deploy.bundle_parts import make_agreement, make_certificate, make_device, make_measurement
from tests.deploy.export_families import FAMILIES

ARCH = FAMILIES["token"]


@pytest.mark.parametrize(
    ("statistic", "budget_ms", "verdict"),
    [
        ("median", 28.0, "met (emulated)"),
        ("median", 27.99, "missed (emulated)"),
        ("p95", 28.5, "missed (emulated)"),
        ("p95", 29.0, "met (emulated)"),
        ("p99", 29.5, "missed (emulated)"),
        ("p99", 30.0, "met (emulated)"),
        ("median", None, "no budget"),
    ],
)
def test_verdict(statistic: Any, budget_ms: float | None, verdict: str) -> None:
    budget = None if budget_ms is None else Budget(budget_ms, statistic)
    certificate = dataclasses.replace(make_certificate(ARCH), budget=budget)
    assert certificate.verdict == verdict


def test_measured_devices_need_no_bracket() -> None:
    device = make_device(kind="ssh")
    certificate = dataclasses.replace(
        make_certificate(ARCH), device=device, measurement=make_measurement(device=device)
    )
    assert certificate.verdict == "met"
    assert dict_from_certificate(certificate)["board_interval_ms"] is None


def test_without_a_measurement_nothing_is_met() -> None:
    certificate = dataclasses.replace(make_certificate(ARCH), measurement=None)
    assert certificate.is_met is None
    assert certificate.verdict == "not measured"
    assert certificate_from_dict(dict_from_certificate(certificate)).measurement is None


def test_json_and_back() -> None:
    certificate = with_files(make_certificate(ARCH), {"model.onnx": "ab"}, created="2026-01-01T00:00:00+00:00")
    values = json.loads(json.dumps(dict_from_certificate(certificate), allow_nan=False))
    assert certificate_from_dict(values) == certificate
    assert values["verdict"] == "met (emulated)"
    assert values["board_interval_ms"] == pytest.approx([25.2, 33.6])
    assert {"device", "protocol", "samples", "latency_ms", "budget_ms", "provenance", "agreement", "files"} <= set(
        values
    )
    assert {"p50", "p95", "p99"} <= set(values["latency_ms"])


def test_infinite_errors_survive_json() -> None:
    certificate = dataclasses.replace(make_certificate(ARCH), agreements=(make_agreement(error=math.inf),))
    values = json.loads(json.dumps(dict_from_certificate(certificate), allow_nan=False))
    assert values["agreement"][0]["max_abs_error"] is None
    assert certificate_from_dict(values) == certificate


@pytest.mark.parametrize("key", ["budget_ms", "verdict", "latency_ms", "files"])
def test_an_edited_certificate_is_found(key: str) -> None:
    values = dict_from_certificate(make_certificate(ARCH))
    values[key] = {"median": 1.0} if key in ("latency_ms", "files") else "met"
    with pytest.raises(NuwaError, match="changed after it was written"):
        certificate_from_dict(values)


def test_other_schemas_are_refused() -> None:
    with pytest.raises(NuwaError, match="schema"):
        certificate_from_dict({"schema": "nuwa.certificate/9"})
