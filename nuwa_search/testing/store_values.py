"""Values to put into search databases: a device, a base, a task, and as many subnets as wanted."""

import itertools
import random

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.device import DeviceSpec, KernelTime, LatencyStats, Measurement, MeasureProtocol
from nuwa_search.core.emulator import EMULATOR_VERSION, OPTION
from nuwa_search.store.collaborations import CollaborationRecord
from nuwa_search.store.records import (
    BaseRecord,
    PredictedLatency,
    PredictorRecord,
    ScoreRecord,
    SubnetRecord,
    TaskRecord,
)
from nuwa_search.store.store import Store

EMULATED = ((OPTION, EMULATOR_VERSION),)
NANO = DeviceSpec("jetson-nano", "emulated", "tensorrt", "8.2.1", "fp16", power_mode="MAXN", options=EMULATED)
BOARD = DeviceSpec("lab-nano", "ssh", "tensorrt", "8.2.1", "fp16", options=(("ssh", "user@board"),), note="shelf 3")
PROTOCOL = MeasureProtocol()
BLOCK = BlockSpec(3, 32, 32, 768)
BASE = BaseRecord("base-0", "vit_tiny", Arch((BLOCK,) * 4, 192, 100, 32, 4), {"source": "here"})
TASK = TaskRecord("task-0", "cifar100", "hash", ("bus", "train"), {"train": {"hash": "a", "num_images": 9}}, True)
OTHER_TASK = TaskRecord("task-1", "cifar100", "hash", ("lion", "tiger"), {}, False)
BOARDS = CollaborationRecord(
    study="boards",
    base_id=BASE.base_id,
    task_id=TASK.task_id,
    devices=(NANO.name, BOARD.name),
    budget_ms=30.0,
    shipped="collaboration",
    mode="fuse",
    predicted_p50_ms=28.5,
    predicted_p95_ms=29.5,
    predicted_mean_ms=28.75,
    metric="top1",
    accuracy=0.75,
    num_images=50,
    rival_accuracy=0.5,
    rival_latency_ms=29.0,
    provenance="emulated",
    path="/boards",
    content={"schema": "nuwa.decompose/1", "study": "boards"},
)


def cut(number: int) -> Arch:
    """Shape of the ``number``-th subnet; the base's second block is gone from all of them."""
    return Arch((BLOCK, EMPTY_BLOCK, BLOCK, BlockSpec(3, 32, 32, 8 * (number + 1))), 192, 2, 32, 4)


def subnet(number: int, *, task_id: str = TASK.task_id, study: str | None = None) -> SubnetRecord:
    """Make the record of the ``number``-th subnet."""
    return SubnetRecord(f"subnet-{number}", cut(number), BASE.base_id, task_id, {"kept": [0, 2, 3]}, study, number)


def prediction(number: int, latency_ms: float, *, device: DeviceSpec = NANO) -> PredictedLatency:
    """Predict its latency, ten percent either way."""
    interval = (0.9 * latency_ms, 1.1 * latency_ms)
    return PredictedLatency(f"subnet-{number}", device.device_id, latency_ms, interval, None, device.provenance)


def top1(number: int, value: float, *, kind: str = "top1", split: str = "test", seed: int = 0) -> ScoreRecord:
    """Score it on 500 images.

    Args:
        number: Of the subnet.
        value: A fraction.
        kind: ``top1``, ``top1_derived``, or ``miou`` and ``miou_derived`` of pixels.
        split: Of the images.
        seed: Of the choice of images.
    """
    return ScoreRecord(f"subnet-{number}", kind, split, 500, seed, value)


def measured(latency_ms: float, *, device: DeviceSpec = NANO) -> Measurement:
    """Make a measurement whose every figure is there."""
    stats = LatencyStats(latency_ms, latency_ms, latency_ms, latency_ms, latency_ms, latency_ms, 0.9, 1.1, 0.01)
    return Measurement(
        device,
        PROTOCOL,
        device.provenance,
        stats,
        samples=30,
        breakdown=(KernelTime("block0", "block", latency_ms),),
        board_interval_ms=(0.8 * latency_ms, 1.2 * latency_ms),
        peak_memory_mb=12.5,
        state={"gpu_mhz": "921"},
        warnings=("hot",),
    )


def record_basics(store: Store) -> None:
    """Store devices, base and tasks, which everything else speaks of."""
    store.record_device(NANO)
    store.record_device(BOARD)
    store.record_base(BASE)
    store.record_task(TASK)
    store.record_task(OTHER_TASK)
    store.save_predictor(PredictorRecord("predictor-0", NANO.device_id, None, {"weights": [1.0]}, {"mape": 0.01}))


NUM_WITH_TIES = 40


def filled_with_ties(store: Store) -> Store:
    """Two tasks on two devices with many ties, a few measured rows, two subnets without accuracy or latency."""
    rng = random.Random(0)
    record_basics(store)
    tasks = [rng.choice([TASK.task_id, OTHER_TASK.task_id]) for _ in range(NUM_WITH_TIES)]
    subnets = [subnet(n, task_id=task) for n, task in enumerate(tasks)]
    store.record_subnets(subnets[: NUM_WITH_TIES // 2])
    store.record_subnets(subnets[NUM_WITH_TIES // 2 :])
    store.record_scores(top1(n, rng.randint(50, 60) / 100) for n in range(NUM_WITH_TIES) if n != 3)
    store.record_predicted_latencies(
        prediction(n, rng.randint(10, 20) / 4, device=device)
        for n, device in itertools.product(range(NUM_WITH_TIES), (NANO, BOARD))
        if n != 4
    )
    for n in range(0, NUM_WITH_TIES, 5):
        store.save_measurement(measured(rng.randint(10, 20) / 4), subnet_id=f"subnet-{n}")
    return store
