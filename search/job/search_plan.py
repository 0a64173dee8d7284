"""What a search would do, told without doing it: images, head, what is left out, the base's latency and the time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nuwa_search.core.device import PROTOCOL, DeviceSpec
from nuwa_search.core.images import ImageSet, unreadable_images
from nuwa_search.core.img_size import ImgSize, json_from_img_size
from nuwa_search.core.task import Task
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.latency.devices.pool_spec import one_board_of
from nuwa_search.predictors.device_predictor import exporter_of, find_known_predictor
from nuwa_search.search.job.check_request import check_request
from nuwa_search.search.job.inputs import Sources
from nuwa_search.search.job.searched_sizes import wanted_sizes
from nuwa_search.search.job.time_estimate import TimeEstimate, estimate_time
from nuwa_search.search.request import SearchRequest
from nuwa_search.store.same_device import pinned_for
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class BaseLatency:
    """The base's latency with the task's head, as far as it is known without measuring.

    Args:
        device: Name of the device.
        budget_ms: Budget of that device in milliseconds.
        predicted_latency_ms: Predicted latency on the device, in milliseconds.
        predicted_interval_ms: Lower and upper end; None where the emulator was asked directly.
        source: A stored latency predictor, or the emulator on the base's exported graph.
        predictor_id: Id of the stored predictor; None for the emulator.
        budget_binds: Whether the predicted latency is more than the budget.
    """

    device: str
    budget_ms: float
    predicted_latency_ms: float
    predicted_interval_ms: tuple[float, float] | None
    source: Literal["latency predictor", "emulator"]
    predictor_id: str | None
    budget_binds: bool


@dataclass(frozen=True)
class SearchPlan:
    """What a search would do.

    Args:
        num_images: By split (train, search, test) and class.
        head_fitted: Whether a head will be fitted, because the base does not know the classes.
        notes: What is left out or would be refused, in sentences.
        base_latency: On the first device; None where it was not profiled for this base and cannot be emulated.
        base_latencies: On every device where it is known.
        time: How long it would take.
        img_sizes: Of the image in pixels that would be chosen among, the base's own first.
    """

    num_images: Mapping[str, Mapping[str, int]]
    head_fitted: bool
    notes: tuple[str, ...]
    base_latency: BaseLatency | None
    base_latencies: tuple[BaseLatency, ...]
    time: TimeEstimate
    img_sizes: tuple[ImgSize, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Render what `nuwa.search-plan/1` adds to the options."""
        return {
            "num_images": {split: dict(counts) for split, counts in self.num_images.items()},
            "head_fitted": self.head_fitted,
            "notes": list(self.notes),
            "base_latency": None if self.base_latency is None else asdict(self.base_latency),
            "base_latencies": [asdict(one) for one in self.base_latencies],
            "img_sizes_searched": [json_from_img_size(size) for size in self.img_sizes],
            **self.time.to_json(),
        }


def plan_search(request: SearchRequest, store: Store, *, study: str) -> SearchPlan:
    """Check a request and tell what would come of it; at most ``MAX_DECODED`` images are decoded.

    Raises:
        NuwaError: If a search would refuse it before it began.
    """
    sources = check_request(request, store, study=study)
    task = sources.task
    splits = {"train": task.train, "search": task.search, "test": task.test}
    latencies = [
        _base_latency(request, sources, store, spec=spec, budget_ms=asked.budget_ms)
        for spec, asked in zip(sources.devices, request.device_budgets, strict=True)
    ]
    unreadable = tuple(name for images in splits.values() for name in unreadable_images(images))
    return SearchPlan(
        num_images={name: _by_class(images, task) for name, images in splits.items()},
        head_fitted=sources.has_fitted_head,
        notes=(*sources.notes, *_unreadable_note(unreadable)),
        base_latency=latencies[0],
        base_latencies=tuple(one for one in latencies if one is not None),
        time=estimate_time(request, sources, store, bad=frozenset(unreadable)),
        img_sizes=(sources.base.arch.img_size, *reversed(wanted_sizes(request, sources))),
    )


def _by_class(images: ImageSet, task: Task) -> dict[str, int]:
    counts = images.counts()
    if images.masks is not None:  # an image holds several classes
        counts = (images.masks.class_pixels(task.num_classes) > 0).sum(axis=0)
    return dict(zip(task.class_names, (int(count) for count in counts), strict=True))


def _unreadable_note(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        return ()
    return (f"images whose first bytes are those of no image, at which a search would stop: {len(names)} ({names[0]})",)


def _base_latency(
    request: SearchRequest, sources: Sources, store: Store, *, spec: DeviceSpec, budget_ms: float
) -> BaseLatency | None:
    """Predict by what is stored for this base, else ask the emulator; a real device is not touched."""
    arch = sources.teacher_archs[0]
    pinned = pinned_for(spec, request.predictor_id, devices=sources.devices, store=store)
    known = find_known_predictor(store, spec, sources.profiled_arch, predictor_id=pinned)
    if known is not None:
        found = known.predictor.predict([arch])
        value, low, high = (float(part[0]) for part in (found.value, found.lower, found.upper))
        binds = value > budget_ms
        return BaseLatency(spec.name, budget_ms, value, (low, high), "latency predictor", known.predictor_id, binds)
    if spec.kind != "emulated":
        return None
    value = _emulated_ms(spec, sources)
    return BaseLatency(spec.name, budget_ms, value, None, "emulator", None, value > budget_ms)


def _emulated_ms(spec: DeviceSpec, sources: Sources) -> float:
    with opened_device(one_board_of(spec)) as device:
        return device.measure(exporter_of(spec)(sources.teacher_archs[0]), protocol=PROTOCOL).latency_ms.median
