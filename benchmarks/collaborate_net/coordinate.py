"""What runs in the coordinator's namespace: probe, predict, measure, then kill two boards and bring them back.

python -m benchmarks.collaborate_net.coordinate FOLDER MBIT DELAY_MS CASE DATA SLOWER
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.collaborate_net.case import Case, case_of
from benchmarks.collaborate_net.namespaces import CENTRE, CENTRE_IP, board_space
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.coordinator import Coordinator
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.kit import Kits, write_kits
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.network import Network, with_local
from nuwa_search.deploy.collaborate.probe import Prober, probe_network
from nuwa_search.deploy.collaborate.way_figures import ModeFigures
from nuwa_search.deploy.collaborate.wire import read_keys
from nuwa_search.predictors.collaboration.modes import ModeLatency
from nuwa_search.predictors.collaboration.predicted import predict_modes

ADDRESS = f"tcp://{CENTRE_IP}:5577"
RELAY_PORT = 6000
NUM_IMAGES, IN_FLIGHT = 250, 4
NUM_STREAMED, KILLED_AT, BACK_AT = 700, 150, 350
KILLED = (1, 3)
"""The second and the fourth board."""


class Boards:
    """Board processes, each with its relay, in their namespaces; those of ``local`` beside the coordinator."""

    def __init__(self, kits: Kits, *, delay_ms: float, local: tuple[str, ...] = ()) -> None:
        self.kits, self.delay_ms, self.names, self.local = kits, delay_ms, tuple(kits.boards), local
        self.relays = [self._relay(place) for place in range(len(self.names))]
        self.running = [self._start(place) for place in range(len(self.names))]

    def _relay(self, place: int) -> "subprocess.Popen[bytes]":
        far = [CENTRE_IP, ADDRESS.rpartition(":")[2], str(self.delay_ms / 2)]
        line = [sys.executable, "-m", "benchmarks.collaborate_net.relay", str(RELAY_PORT), *far]
        return subprocess.Popen(["ip", "netns", "exec", board_space(place), *line])

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        program = self.kits.boards[self.names[place]] / "board.py"
        line = [sys.executable, str(program), "--emulate-pace", "--quiet", "--coordinator"]
        space, address = board_space(place), f"tcp://127.0.0.1:{RELAY_PORT}"
        if self.names[place] in self.local:
            space, address = CENTRE, ADDRESS
        return subprocess.Popen(["ip", "netns", "exec", space, *line, address])

    def kill(self, place: int) -> None:
        """Send SIGKILL, as a board that loses its power."""
        self.running[place].kill()
        self.running[place].wait()

    def start(self, place: int) -> None:
        """Start a board again."""
        self.running[place] = self._start(place)

    def close(self) -> None:
        for process in (*self.running, *self.relays):
            process.kill()
            process.wait()


def predicted_mode(collaboration: Collaboration, network: Network, *, mode: str, fusion_ms: float) -> ModeLatency:
    """Predict as ``nuwa predict`` does: from a probe's figures, the emulated latencies and the fusion measured here."""
    modes: tuple[ModeFigures, ...] = (collaboration.figures(mode),)
    here = dataclasses.replace(collaboration, modes=modes, network=network, fusion_ms=fusion_ms)
    latency = predict_modes(here)[0].latency
    assert latency is not None
    return latency


def fusion_time_ms(fusion: Fusion) -> float:
    """Measure one fusion here: the median of 200."""
    vectors = [np.zeros(dim, np.float32) for dim in fusion.vector_dims]
    took = []
    for _ in range(200):
        begin = time.perf_counter()
        fusion.fuse(vectors)
        took.append(1000 * (time.perf_counter() - begin))
    return statistics.median(took)


def top1(answers: list[CollaborativeAnswer], case: Case) -> dict[str, Any]:
    """Say how many of some answers are right, with the 95 % interval."""
    hits = sum(int(answer.class_index == case.classes[answer.number]) for answer in answers)
    low, high = wilson_interval(hits, len(answers))
    return {"images": len(answers), "top1": hits / len(answers), "top1_low": low, "top1_high": high}


def measure(folder: Path, case: Case, *, mbit: float, delay_ms: float) -> dict[str, Any]:
    """Run one cell."""
    collaboration, fusion = case.collaboration, case.fusion
    load = os.getloadavg()[0]
    kits = write_kits(folder / "kits", address=ADDRESS, source=case.folder, collaboration=collaboration)
    assert kits.keys is not None
    keys = read_keys(kits.keys)
    local = collaboration.network.local_boards
    boards = Boards(kits, delay_ms=delay_ms, local=local)
    try:
        with Prober(collaboration.boards, address=ADDRESS, keys=keys) as prober:
            prober.wait(timeout_s=60)
            network = with_local(probe_network(prober), local)
        fusion_ms = fusion_time_ms(fusion)
        predicted = predicted_mode(collaboration, network, mode="fuse", fusion_ms=fusion_ms)
        with Coordinator(collaboration, fusion, address=ADDRESS, keys=keys) as coordinator:
            coordinator.wait(timeout_s=60)
            images = case.images[:NUM_IMAGES]
            alone = list(coordinator.stream(images, mode="fuse", deadline_ms=2000))
            begin = time.perf_counter()
            streamed = list(coordinator.stream(images, mode="fuse", deadline_ms=2000, in_flight=IN_FLIGHT))
            images_per_s = len(streamed) / (time.perf_counter() - begin)
            routed = measured_route(coordinator, case, network, fusion_ms=fusion_ms)
            faults = killed_and_back(coordinator, boards, case, deadline_ms=3 * predicted.p50_ms * IN_FLIGHT)
    finally:
        boards.close()
    took = [answer.latency_ms for answer in alone]
    return {
        "mbit": mbit,
        "delay_ms": delay_ms,
        "images": len(alone),
        "probed_rtt_ms": statistics.median(link.rtt_p50_ms for link in network.links),
        "probed_down_mbit": statistics.median(link.down_mbit for link in network.links),
        "probed_all_down_mbit": network.all_down_mbit,
        "probed_message_ms": statistics.median(link.message_ms for link in network.links),
        "probed_all_message_ms": network.all_message_ms,
        "probed_all_rtt_ms": network.all_rtt_ms,
        "fusion_ms": fusion_ms,
        "predicted_ms": predicted.p50_ms,
        "measured_p50_ms": statistics.median(took),
        "measured_p95_ms": float(np.percentile(took, 95)),
        "error": statistics.median(took) / predicted.p50_ms - 1,
        "answered_by_all": sum(len(answer.boards) == len(collaboration.boards) for answer in alone),
        "predicted_images_per_s": predicted.images_per_s,
        "images_per_s": images_per_s,
        "stream_error": images_per_s / predicted.images_per_s - 1,
        "in_flight": IN_FLIGHT,
        "top1": top1(alone, case)["top1"],
        "load_before": load,
        **routed,
        **faults,
    }


def measured_route(coordinator: Coordinator, case: Case, network: Network, *, fusion_ms: float) -> dict[str, Any]:
    """Answer the same images one at a time by routes, where a gate meets them first; blank fields where none does."""
    collaboration = case.collaboration
    if collaboration.gate is None:
        return dict.fromkeys(("route_predicted_mean_ms", "route_mean_ms", "route_top1", "route_alone", "fuse_mean_ms"))
    images = case.images[:NUM_IMAGES]
    predicted = predicted_mode(collaboration, network, mode="route", fusion_ms=fusion_ms)
    routed, fused = (list(coordinator.stream(images, mode=mode, deadline_ms=2000)) for mode in ("route", "fuse"))
    return {
        "route_predicted_mean_ms": predicted.mean_ms,
        "route_mean_ms": statistics.fmean(answer.latency_ms for answer in routed),
        "route_top1": top1(routed, case)["top1"],
        "route_alone": sum(len(answer.parts) == 1 for answer in routed) / len(routed),
        "fuse_mean_ms": statistics.fmean(answer.latency_ms for answer in fused),
    }


def killed_and_back(coordinator: Coordinator, boards: Boards, case: Case, *, deadline_ms: float) -> dict[str, Any]:
    """Stream images, kill two boards, start them again, and see what became of every image."""
    answers = []
    for answer in coordinator.stream(case.images, mode="fuse", deadline_ms=deadline_ms, in_flight=IN_FLIGHT):
        answers.append(answer)
        if answer.number == KILLED_AT:
            for place in KILLED:
                boards.kill(place)
        if answer.number == BACK_AT:
            for place in KILLED:
                boards.start(place)
    numbers = [
        answer.number for answer in answers if len(answer.boards) < len(boards.names) and answer.number > KILLED_AT
    ]
    gone, back = min(numbers), max(numbers) + 1
    phases = {"before": answers[:gone], "during": answers[gone:back], "after": answers[back:]}
    told = {f"{phase}_{name}": v for phase, part in phases.items() for name, v in top1(part, case).items()}
    return {
        "streamed": len(answers),
        "unanswered": sum(not answer.is_answered for answer in answers),
        "longest_ms": max(answer.latency_ms for answer in answers),
        "deadline_ms": deadline_ms,
        **told,
    }


if __name__ == "__main__":
    place, mbit, delay_ms, name, data, slower = sys.argv[1:]
    case = case_of(name, data, slower=float(slower), count=NUM_STREAMED, place=Path(place))
    cell = measure(Path(place), case, mbit=float(mbit), delay_ms=float(delay_ms))
    Path(place, "cell.json").write_text(json.dumps(cell))
