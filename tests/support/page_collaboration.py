"""A decomposition over two kinds of boards, as the page shows it: ``nuwa.decompose/1``, made by hand."""

from typing import Any

from nuwa_search.core.proportion import wilson_interval
from nuwa_search.store.collaborations import CollaborationRecord
from nuwa_search.store.records import BaseRecord, TaskRecord
from nuwa_search.store.store import Store

STUDY = "three-boards"
NUM_IMAGES = 250
RIVAL_TOP1, FUSED_TOP1 = 0.82, 0.868


def seed_collaboration(store: Store, base: BaseRecord, task: TaskRecord, *, subnet_id: str) -> None:
    """Record it; the base and the task are there already."""
    answer = collaboration_answer(base.name, task.classes, subnet_id=subnet_id)
    fuse = answer["modes"][0]
    store.record_collaboration(
        CollaborationRecord(
            study=STUDY,
            base_id=base.base_id,
            task_id=task.task_id,
            devices=tuple(part["device"] for part in answer["sub_models"]),
            budget_ms=answer["budget_ms"],
            shipped=answer["shipped"],
            mode=fuse["mode"],
            predicted_p50_ms=fuse["predicted_p50_ms"],
            predicted_p95_ms=fuse["predicted_p95_ms"],
            predicted_mean_ms=fuse["predicted_mean_ms"],
            metric="top1",
            accuracy=FUSED_TOP1,
            num_images=NUM_IMAGES,
            rival_accuracy=RIVAL_TOP1,
            rival_latency_ms=answer["rival"]["latency_ms"],
            provenance="emulated",
            path=answer["dir"],
            content=answer,
        )
    )


def collaboration_answer(base: str, classes: tuple[str, ...], *, subnet_id: str) -> dict[str, Any]:
    """Write the answer of three boards, two of them alike; every sub-model is the same stored subnet."""
    boards = (("jetson-nano-1", "jetson-nano"), ("jetson-nano-2", "jetson-nano"), ("orin", "jetson-orin-nano"))
    parts = [
        {"name": f"part-{k + 1}", "board": board, "device": device, "classes": list(classes[k : k + 1]),
         "study": f"{STUDY}-part-{k + 1}", "subnet_id": subnet_id, "arch_id": "a" * 16, "budget_ms": 5.2,
         "searched_for": board, "latency_ms": 5.0 + 0.1 * k, "p95_ms": 5.3, "provenance": "emulated",
         "peak_memory_mb": None, "vector_dim": 192, "answer_bytes": 768, "top1_alone": 0.41, "miou_alone": None}
        for k, (board, device) in enumerate(boards)
    ]  # fmt: skip
    links = [{"board": board, "rtt_p50_ms": 0.5, "rtt_p95_ms": 0.5, "down_mbit": 1000.0, "up_mbit": 1000.0}
             for board, _ in boards]  # fmt: skip
    return {
        "schema": "nuwa.decompose/1", "study": STUDY, "feasible": True, "metric": "top1", "budget_ms": 6.0, "seed": 0,
        "dir": "/srv/runs/three boards", "shipped": "collaboration", "shipped_dir": "/srv/runs/three boards",
        "verdict": "3 boards are shipped: +4.8 points (+1.2 to +8.4) on 250 test images against one board alone",
        "classes": list(classes), "grouping": {"kind": "confusion", "confusion_inside": 0.82, "shared": []},
        "grid": None,
        "network": {"provenance": "assumed", "image_bytes": 3072, "fusion_ms": 0.2, "links": links},
        "placement": {"is_exact": True, "gap": 0.0, "slowest_ms": 5.77},
        "sub_models": parts,
        "modes": [
            _mode("fuse", 5.98, FUSED_TOP1), _mode("any", 5.9, 0.84, needed=2),
            _mode("route", 5.8, 0.86, first=2, thresholds=[0.9, 0.5]),
        ],
        "rival": {
            "device": "jetson-orin-nano", "study": f"{STUDY}-rival", "subnet_id": subnet_id, "latency_ms": 5.91,
            "top1": RIVAL_TOP1, "top1_interval": _ends(RIVAL_TOP1), "miou": None, "miou_interval": None,
            "top1_search": 0.8, "miou_search": None, "is_better": False,
            "dir": "/srv/runs/three boards/rival", "difference": 0.048, "difference_interval": [0.012, 0.084],
            "is_equal": False,
        },
        "base": {"name": base, "top1": 0.876, "top1_interval": _ends(0.876), "miou": None, "miou_interval": None,
                 "latency_ms": 11.9, "device": "jetson-orin-nano"},
        "notes": ["network figures are assumed: nuwa collaborate probe measures them"], "seconds": 900.0,
    }  # fmt: skip


def _mode(mode: str, p50_ms: float, top1: float, **more: Any) -> dict[str, Any]:
    return {
        "mode": mode, "predicted_p50_ms": p50_ms, "predicted_p95_ms": 1.04 * p50_ms, "predicted_mean_ms": p50_ms,
        "predicted_images_per_s": 196.0, "bytes_per_image": 11520.0, "needed": None, "first": None, "thresholds": [],
        "top1": top1, "top1_interval": _ends(top1), "num_images": NUM_IMAGES, "split": "test", "top1_search": top1,
        "miou": None, "miou_interval": None, "miou_search": None,
    } | more  # fmt: skip


def _ends(top1: float) -> list[float]:
    return list(wilson_interval(round(NUM_IMAGES * top1), NUM_IMAGES))
