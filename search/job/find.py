"""What one search hands around, and how it measures."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from nuwa_search.core.budget import Budget
from nuwa_search.core.cache import Cache
from nuwa_search.core.device import PROTOCOL, DeviceSpec, Measurement
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.executor.executor import Executor
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.deadline import Deadline
from nuwa_search.search.job.inputs import Inputs
from nuwa_search.search.job.survey import Survey
from nuwa_search.search.request import SearchRequest
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class Finder:
    """Everything that one search hands around.

    Args:
        surveys: Its devices with their budgets, in the order of the request.
        executor: Where the work runs.
        img_sizes: Image sizes to choose among beside the base's own.
    """

    request: SearchRequest
    inputs: Inputs
    store: Store
    surveys: tuple[Survey, ...]
    cache: Cache
    deriver: Deriver
    hooks: Hooks
    study_name: str
    storage_url: str | None
    deadline: Deadline
    executor: Executor
    img_sizes: tuple[ImgSize, ...] = ()

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budget of each device."""
        return tuple(survey.budget for survey in self.surveys)

    def measure(self, model: PlainViT) -> tuple[Measurement, ...]:
        """Measure the graph of ``model`` on every device, exported as that one takes it."""
        return tuple(survey.device.measure(exported(model, survey.spec), protocol=PROTOCOL) for survey in self.surveys)

    def fits(self, measurements: Sequence[Measurement], *, has_room: bool = False) -> bool:
        """Whether every device's budget is kept; arguments as of ``Budget.check``."""
        return all(
            budget.check(measurement, has_room=has_room).is_met
            for budget, measurement in zip(self.budgets, measurements, strict=True)
        )

    @property
    def base_fits(self) -> bool:
        """Whether the whole base keeps every budget."""
        return self.fits([survey.base_measurement for survey in self.surveys])


def exported(model: PlainViT, spec: DeviceSpec) -> onnx.ModelProto:
    """Export ``model`` as the device takes it."""
    return onnx_from_vit(model, GraphOptions(opset=spec.opset, precision=graph_precision(spec), batch=spec.batch))
