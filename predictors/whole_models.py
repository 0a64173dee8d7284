"""Measure whole nets, several times each, spread over sessions."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.core.arch import Arch
from nuwa_search.latency.table.timer import ArchTimer, Notebook
from nuwa_search.latency.table.watch import Watch
from nuwa_search.predictors.latency.predictor import MIN_MODELS


@dataclass(frozen=True)
class ModelTimes:
    """A net and its measured medians in milliseconds, one per repeat."""

    arch: Arch
    latencies_ms: tuple[float, ...]

    @property
    def mean_ms(self) -> float:
        """Mean over the repeats."""
        return sum(self.latencies_ms) / len(self.latencies_ms)


def measure_models(
    archs: Sequence[Arch],
    *,
    role: str,
    sessions: Sequence[ArchTimer],
    notebook: Notebook,
    repeats: int,
    watch: Watch | None = None,
) -> list[ModelTimes]:
    """Measure what ``notebook`` lacks of ``archs``; repeats of a net lie a whole round apart.

    Args:
        archs: Nets in the order of their use.
        role: ``fit`` or ``heldout``; figures taken for another role do not count.
        sessions: Each repeat of a net is taken in another, as far as there are enough.
        notebook: What is known, and where new figures go.
        repeats: Measurements per net.
        watch: Who is told, and when only the first ``MIN_MODELS`` nets are still measured, once; None for nobody and
            never.

    Returns:
        Nets that were measured at least once, in the order of ``archs``.
    """
    watch = watch or Watch()
    found: dict[str, list[float]] = {arch.arch_id: [] for arch in archs}
    for arch, measurement in notebook.models():
        known = found.get(arch.arch_id)
        if known is not None and measurement.state.get("role") == role:
            known.append(measurement.latency_ms.median)
    done, total = sum(min(repeats, len(v)) for v in found.values()), repeats * len(archs)
    position_of = {arch.arch_id: position for position, arch in enumerate(archs)}
    for round_number in range(repeats):
        # Every second round runs backwards: a drift of the device then hits all nets alike.
        order = list(enumerate(archs if round_number % 2 == 0 else tuple(reversed(archs))))
        left = [(index, arch) for index, arch in order if len(found[arch.arch_id]) <= round_number]
        while left:
            if watch.is_over:
                left = [(index, arch) for index, arch in left if round_number == 0 and index < MIN_MODELS]
                if not left:
                    break
            # One session further each round: the repeats of a net share no session's offset.
            session = sessions[(position_of[left[0][1].arch_id] + round_number) % len(sessions)]
            now, left = left[: session.num_at_once], left[session.num_at_once :]
            batch = [arch for _, arch in now]
            for arch, measurement in zip(batch, session.measure_many(batch, role=role), strict=True):
                notebook.add_model(arch, measurement)
                found[arch.arch_id].append(measurement.latency_ms.median)
                if len(found[arch.arch_id]) >= repeats:
                    session.release(arch)
                done += 1
                watch.tell(f"whole models ({role})", done, total)
    return [ModelTimes(arch, tuple(found[arch.arch_id])) for arch in archs if found[arch.arch_id]]
