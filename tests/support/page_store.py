"""A search database with something for every view of the page, made through the store's own methods."""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec, dict_from_arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.device import KernelTime, LatencyStats, Measurement
from nuwa_search.deploy.certificate import Certificate, dict_from_certificate, with_files
from nuwa_search.deploy.file_hashes import hash_file
from nuwa_search.store.records import (
    BaseRecord,
    CertificateRecord,
    LutEntry,
    PredictedLatency,
    PredictorRecord,
    ScoreRecord,
    SearchTerms,
    SubnetRecord,
    TaskRecord,
)
from nuwa_search.store.store import Store
from tests.support.page_collaboration import seed_collaboration
from tests.support.store_values import NANO, PROTOCOL

BLOCK = BlockSpec(6, 32, 32, 768)
BASE = BaseRecord("base-0", "vit-small", Arch((BLOCK,) * 12, 192, 100, 32, 4))
VEHICLES = TaskRecord("task-0", "cifar100", "hash", ("bus", "train", "tram"), {"test": {"num_images": 250}}, True)
CATS = TaskRecord("task-1", "cifar100", "hash", ("lion", "tiger"), {"test": {"num_images": 200}}, False)
STUDY = "vehicles-5ms"
BUDGET_MS = 5.0
BASE_MS, BASE_TOP1 = 11.9, 0.876
BASE_SCORES = ClassScores(((80, 2, 2), (1, 70, 12), (2, 12, 69)), (True,) * 219 + (False,) * 31)
WINNER_SCORES = ClassScores(((80, 2, 2), (1, 70, 12), (8, 12, 63)), (True,) * 213 + (False,) * 37)


@dataclass(frozen=True)
class Seeded:
    """What tests look for.

    Args:
        winner_id: Shipped, measured, with a bundle and a certificate.
        winner_ms: Its latency, emulated.
        winner_top1: Its accuracy on the test split.
        lost_id: Shipped, but its bundle is gone.
        answer: Of the search that found the winner.
    """

    winner_id: str
    winner_ms: float
    winner_top1: float
    lost_id: str
    answer: dict[str, Any]


def seed_page_store(store: Store, folder: Path, *, num_subnets: int = 40) -> Seeded:
    """Fill a fresh store; bundles go into ``folder``."""
    store.record_device(NANO)
    store.record_base(BASE)
    for task in (CATS, VEHICLES):
        store.record_task(task)
    _record_table(store)
    claim = store.start_search(
        STUDY,
        SearchTerms(
            device_id=NANO.device_id,
            budget_ms=BUDGET_MS,
            seed=0,
            settings={"budget_ms": BUDGET_MS, "device": NANO.name, "base": "default", "trials": num_subnets},
            base_id=BASE.base_id,
            task_id=VEHICLES.task_id,
        ),
    )
    for number in range(num_subnets + 5):
        _record_scored(store, number, VEHICLES if number < num_subnets else CATS)
    winner_ms, winner_top1 = 4.93, 0.852
    winner = _ship(store, folder, "winner", winner_ms, winner_top1)
    lost = _ship(store, folder, "lost", 6.2, 0.861)
    _remove(folder / "lost")
    answer = _answer(winner, winner_ms, winner_top1, folder / "winner")
    store.finish_search(claim, "done", result=answer)
    seed_collaboration(store, BASE, VEHICLES, subnet_id=winner.subnet_id)
    return Seeded(winner.subnet_id, winner_ms, winner_top1, lost.subnet_id, answer)


def latency_of(arch: Arch) -> float:
    """A latency in milliseconds that grows with what is left, as on a board that waits for launches."""
    return 0.5 + sum(
        0.25 * (b.num_heads / 6 + b.has_attn) + 0.25 * (b.mlp_width / 768 + b.has_mlp) for b in arch.blocks
    )


def _cut(chance: random.Random) -> Arch:
    keep = chance.uniform(0.15, 0.8)
    blocks = []
    for _ in BASE.arch.blocks:
        heads = chance.choice((2, 4, 6)) if chance.random() < keep else 0
        width = chance.choice((192, 384, 768)) if chance.random() < keep + 0.2 else 0
        attn = (heads, 32, chance.choice((16, 32))) if heads else (0, 0, 0)
        blocks.append(BlockSpec(*attn, width) if heads or width else EMPTY_BLOCK)
    return replace(BASE.arch, blocks=tuple(blocks), num_classes=3)


def _record_scored(store: Store, number: int, task: TaskRecord) -> None:
    chance = random.Random(number)
    arch, identity = _cut(chance), f"{number:08x}"
    study = STUDY if task is VEHICLES else None
    store.record_subnets([SubnetRecord(identity, arch, BASE.base_id, task.task_id, {"origin": "seed"}, study, number)])
    ms = latency_of(arch)
    interval = (0.99 * ms, 1.01 * ms)
    store.record_predicted_latencies([PredictedLatency(identity, NANO.device_id, ms, interval, None, "emulated")])
    top1 = round(256 * (0.9 - 1.2 / ms - 0.08 * chance.random())) / 256
    store.record_scores([ScoreRecord(identity, "top1_derived", "search", 256, 0, top1)])


def _measured(ms: float, arch: Arch) -> Measurement:
    stats = LatencyStats(ms, ms, ms, 1.005 * ms, 1.008 * ms, 1.01 * ms, 0.99 * ms, 1.012 * ms, 0.003)
    kept = [b for b in arch.blocks if not b.is_empty]
    kernels = [KernelTime("patch_embed", "conv", 0.1 * ms)]
    for place, block in enumerate(kept):
        share = 0.9 * ms / len(kept)
        half = share / 2 if block.has_attn and block.has_mlp else share
        kernels += [KernelTime(f"blocks.{place}.attn.q", "matmul", half)] if block.has_attn else []
        kernels += [KernelTime(f"blocks.{place}.mlp.fc1", "matmul", half)] if block.has_mlp else []
    interval = (0.72 * ms, 1.4 * ms)
    return Measurement(NANO, PROTOCOL, "emulated", stats, 90, tuple(kernels), interval, 855.0, {"gpu_mhz": "921"}, ())


def _ship(store: Store, folder: Path, name: str, ms: float, top1: float) -> SubnetRecord:
    blocks = [BLOCK if k % 2 else (EMPTY_BLOCK if k % 3 == 0 else BlockSpec(0, 0, 0, 384)) for k in range(12)]
    arch = replace(
        BASE.arch, blocks=tuple(blocks[: 12 if name == "winner" else 11] + [BLOCK] * (name != "winner")), num_classes=3
    )
    record = SubnetRecord(f"{name}-subnet", arch, BASE.base_id, VEHICLES.task_id, {"origin": "seed"}, STUDY, None)
    store.record_subnets([record])
    prediction = PredictedLatency(record.subnet_id, NANO.device_id, 1.004 * ms, (ms, 1.01 * ms), None, "emulated")
    store.record_predicted_latencies([prediction])
    store.record_scores([ScoreRecord(record.subnet_id, "top1", "test", 250, 0, top1)])
    measurement = _measured(ms, arch)
    measurement_id = store.save_measurement(measurement, subnet_id=record.subnet_id)
    path = _write_bundle(folder / name, arch, measurement)
    store.set_bundle(record.subnet_id, str(folder / name))
    content = {"file": hash_file(path)}
    verdict = "met (emulated)" if ms <= BUDGET_MS else "missed (emulated)"
    certificate = CertificateRecord(
        record.subnet_id, NANO.device_id, BUDGET_MS, verdict, content, measurement_id, str(path)
    )
    store.record_certificate(certificate)
    return record


def _write_bundle(folder: Path, arch: Arch, measurement: Measurement) -> Path:
    folder.mkdir(parents=True)
    (folder / "arch.json").write_text(json.dumps(dict_from_arch(arch)))
    (folder / "labels.txt").write_text("\n".join(VEHICLES.classes))
    certificate = Certificate(arch.arch_id, NANO, measurement, Budget(BUDGET_MS), subnet_id=f"{folder.name}-subnet")
    hashes = {path.name: hash_file(path) for path in folder.iterdir()} | {"model.onnx": "0" * 64}
    path = folder / "certificate.json"
    path.write_text(json.dumps(dict_from_certificate(with_files(certificate, hashes, created="2026-01-01T12:00:00Z"))))
    return path


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _record_table(store: Store) -> None:
    context = {"embed_dim": 192, "num_tokens": 65, "norm": "layernorm", "act": "gelu", "qkv_bias": True}
    shapes = [("mlp", 0, 0, 0, width) for width in range(64, 769, 64)]
    shapes += [("attn", heads, qk, v, 0) for heads in (2, 4, 6) for qk in (16, 32) for v in (16, 32)]
    rows = []
    for kind, heads, qk, v, width in shapes:
        key = {"kind": kind, "company": "busy", "num_heads": heads, "qk_dim": qk, "v_dim": v, "mlp_width": width}
        rows.append(LutEntry(key | context, 0.1 + 0.0005 * width + 0.05 * heads, "emulated", {"sd_ms": 0.001}))
    lut_id = store.save_lut_rows(NANO, PROTOCOL, rows)
    errors = {"mape": 0.005, "within_5pct": 1.0, "within_10pct": 1.0, "spearman": 0.998, "kendall_tau": 0.982}
    report = {
        "num_heldout": 30, **errors, "interval_coverage": 0.9, "interval_width": 0.01, "nominal_coverage": 0.9,
        "noise_floor_mape": 0.008, "baselines": {"macs": errors | {"mape": 0.28}, "operators": errors | {"mape": 0.05}},
        "block_sum": errors | {"mape": 0.04},
    }  # fmt: skip
    store.save_predictor(PredictorRecord("predictor-0", NANO.device_id, lut_id, {}, report))


def _answer(winner: SubnetRecord, ms: float, top1: float, bundle: Path) -> dict[str, Any]:
    arch, base = winner.arch, BASE.arch
    return {
        "schema": "nuwa.search/1", "study": STUDY, "feasible": True, "budget_ms": BUDGET_MS, "budget_binds": True,
        "budget_statistic": "median", "seed": 0, "shipped": "subnet", "verdict": "met (emulated)", "repairs": 0,
        "device": {"name": NANO.name, "provenance": "emulated"},
        "task": {"data": VEHICLES.data, "classes": list(VEHICLES.classes), "num_train": 1200, "num_search": 256,
                 "num_test": 250, "search_split_seen_by_base": True},
        "base": {"name": BASE.name, "arch_id": base.arch_id, "params": count_params(base), "macs": count_macs(base),
                 "latency_ms": BASE_MS, "provenance": "emulated", "board_interval_ms": [8.5, 16.6],
                 "top1_all_classes": 0.73, "top1_restricted": BASE_TOP1,
                 **BASE_SCORES.of_classes(VEHICLES.classes).to_json()},
        "subnet": {"arch_id": arch.arch_id, "subnet_id": winner.subnet_id, "params": count_params(arch),
                   "macs": count_macs(arch), "predicted_latency_ms": 1.004 * ms,
                   "predicted_interval_ms": [ms, 1.01 * ms], "board_interval_ms": [0.72 * ms, 1.4 * ms],
                   "measured_latency_ms": ms, "measured_p95_ms": 1.008 * ms, "provenance": "emulated",
                   "top1_derived": top1 - 0.03, "top1": top1, "split": "test", "num_images": 250,
                   **WINNER_SCORES.of_classes(VEHICLES.classes).to_json()},
        "artifacts": {"dir": str(bundle)},
        "trials": {"total": 50, "feasible": 44, "scored": 40, "failed": 0},
        "seconds": {"search": 40.0, "total": 90.0},
    }  # fmt: skip
