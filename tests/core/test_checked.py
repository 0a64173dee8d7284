"""Values and documents from outside: what is no number, no text or no plain name is refused by name."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from nuwa_search.core import checked
from nuwa_search.core.arch import Arch, BlockSpec, arch_from_dict, dict_from_arch
from nuwa_search.core.device import DeviceSpec, LatencyStats, MeasureProtocol
from nuwa_search.core.documents import MAX_DEPTH, json_from_text, read_json, read_toml
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.records import record_from_dict

ARCH = Arch(blocks=(BlockSpec(2, 8, 8, 32),), embed_dim=16, num_classes=3, img_size=8, patch_size=4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, [1.0], 10**400])
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(NuwaError, match="latency_ms must be a"):
        checked.finite(value, "latency_ms")


def test_limits_of_numbers_are_inclusive_but_for_above() -> None:
    assert checked.finite(0, "x", low=0) == 0.0
    assert checked.integer(3, "x", low=3, high=3) == 3
    with pytest.raises(NuwaError, match="above 0"):
        checked.finite(0, "x", above=0)
    with pytest.raises(NuwaError, match="from 0 to 9"):
        checked.integer(10, "x", low=0, high=9)


@pytest.mark.parametrize("value", [True, 3.0, "3", None, 10**400])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(NuwaError, match="whole number"):
        checked.integer(value, "samples")


@pytest.mark.parametrize("value", ["../outside", "a/b", "", ".", "..", "a\\b", "a\0b", "C:x", ".hidden", 3, "x" * 300])
def test_a_name_that_leads_anywhere_is_no_file_name(value: object) -> None:
    with pytest.raises(NuwaError):
        checked.file_name(value, "name")


@pytest.mark.parametrize("value", ["/etc/x", "a/../../b", "a//b", "../b", "a/./b", "a\\..\\b"])
def test_a_name_that_leaves_its_folder_is_refused(value: object) -> None:
    with pytest.raises(NuwaError):
        checked.relative_name(value, "files")


def test_names_inside_a_folder_are_kept() -> None:
    assert checked.relative_name("samples/a b.png", "files") == "samples/a b.png"
    assert checked.file_name("fit-0123.times", "name") == "fit-0123.times"


@pytest.mark.parametrize(
    "content",
    [
        '{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', '{"a": 1, "a": 2}', '"\\ud800"', "1" * 60, "", "{",
        "[" * 5000 + "]" * 5000, "[" * (MAX_DEPTH + 3) + "]" * (MAX_DEPTH + 3),
    ],
)  # fmt: skip
def test_json_that_no_reader_means_is_refused(content: str) -> None:
    with pytest.raises(NuwaError):
        json_from_text(content, what="it")


def test_json_of_the_greatest_depth_is_read() -> None:
    content = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(json_from_text(content, what="it")) == content


def test_a_document_is_not_opened_beyond_its_size(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    path.write_text(json.dumps(["x" * 100] * 20))
    with pytest.raises(NuwaError, match="at most 1000"):
        read_json(path, what="list", max_bytes=1000)


@pytest.mark.parametrize("content", ["a = nan", "a = 1e999", "a = " + "[" * 3000, "a = " + "9" * 5000, "a", "\xff"])
def test_toml_that_no_setting_means_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "nuwa.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(NuwaError):
        read_toml(path, what="settings file")


def test_records_come_back_as_they_were() -> None:
    spec = DeviceSpec("a", "host", "onnxruntime", "1", "fp32", memory_mb=3, options=(("threads", "2"),))
    for record in (spec, ARCH, MeasureProtocol(clocks_pinned=True)):
        values = json.loads(json.dumps(dataclasses.asdict(record)))
        assert record_from_dict(type(record), values, where="it") == record


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1.0", None, [], {}])
def test_no_statistic_of_a_latency_may_be_anything_else_than_a_number(value: object) -> None:
    stats = dict.fromkeys([f.name for f in dataclasses.fields(LatencyStats)], 1.0)
    for name in stats:
        if (name, value) == ("sustained", None):  # where no load was kept up, there is no such level
            continue
        with pytest.raises(NuwaError, match=name):
            record_from_dict(LatencyStats, {**stats, name: value}, where="latency_ms")


@pytest.mark.parametrize(
    "change",
    [
        {"embed_dim": True}, {"embed_dim": 16.0}, {"embed_dim": "16"}, {"embed_dim": 10**9}, {"norm_eps": math.inf},
        {"blocks": [1]}, {"blocks": {}}, {"blocks": None}, {"num_classes": -1}, {"act": ["gelu"]}, {"norm": {}},
        {"blocks": [{"num_heads": True, "qk_dim": 8, "v_dim": 8, "mlp_width": 8}]}, {"surplus": 1}, {"qkv_bias": 1},
    ],
)  # fmt: skip
def test_an_arch_of_other_types_or_sizes_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(NuwaError, match="not an arch"):
        arch_from_dict({**dict_from_arch(ARCH), **change})
