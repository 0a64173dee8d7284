"""Verbs that ask: the database, the predictors and the devices."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nuwa_search.core.budget import require_statistic
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.img_size import ImgSize
from nuwa_search.lab.keywords import (
    QueryKeywords,
)
from nuwa_search.lab.opened import DEVICE, OpenedLab
from nuwa_search.lab.query_filters import check_filters
from nuwa_search.lab.query_request import QueryRequest, Topic
from nuwa_search.lab.values import plain_values
from nuwa_search.lab.watching import watched

if TYPE_CHECKING:
    from nuwa_search.core.arch import Arch
    from nuwa_search.core.measuring.sustained import SustainedRun
    from nuwa_search.lab.event import Callback
    from nuwa_search.lab.measure import MeasureAnswer
    from nuwa_search.lab.predict import LatencyPrediction
    from nuwa_search.lab.predict_collaboration import CollaborationPrediction
    from nuwa_search.lab.table import Table
    from nuwa_search.search.compare import Comparison


class AskingVerbs(OpenedLab):
    """Ask the database, predict and measure."""

    def query(self, topic: Topic = "subnets", **filters: Unpack[QueryKeywords]) -> "Table":
        """Ask the database; ``.to_frame()`` makes a pandas frame of the answer.

        Args:
            topic: ``subnets``, ``latencies``, ``studies``, ``devices``, ``certificates``, ``bundles`` or
                ``collaborations``.
            filters: As of ``nuwa query``; each topic knows some of them, and an unknown one is refused.

        Raises:
            NuwaError: If a filter says nothing about the topic, a device is not known, or a SELECT is refused.
        """
        from nuwa_search.lab.query_columns import EMPTY
        from nuwa_search.lab.table import Table
        from nuwa_search.store.emptiness import is_empty

        request = QueryRequest(**plain_values(filters, relative=("base",)))
        kind = request.kind(topic)
        check_filters(kind, list(filters))
        if kind in EMPTY and not request.device and is_empty(self.url):  # a device's name takes the store to check
            return Table(kind, [], [], EMPTY[kind])
        from nuwa_search.lab.query import ask, notes_on

        answer = ask(kind, self.store, request)
        self._tell(notes_on(self.store, request))
        return answer

    def compare(self, subnet: str, other: str) -> "Comparison":
        """Put two stored subnets side by side: accuracies, latencies, sizes, blocks, and how to make each again.

        Args:
            subnet: Id of the first.
            other: Id of the second, which differences are taken of.

        Raises:
            NuwaError: If the database knows one of them not.
        """
        from nuwa_search.search.compare import compare_subnets

        return compare_subnets(subnet, other, self.store)

    def predict(
        self,
        arch: "Arch | str | Path",
        *,
        device: str = DEVICE,
        base: str | Path | None = None,
        predictor: str | None = None,
        img_size: ImgSize | None = None,
        callback: "Callback | None" = None,
    ) -> "LatencyPrediction":
        """Predict the latency of an arch without touching the device.

        Args:
            arch: An ``Arch``, an arch id, an arch JSON file, a bundle, or a base.
            device: Name of the device; an emulated one is profiled first where it has no predictor for the base.
            base: Whose subnet it is; None takes the package's base where it fits in, or the arch itself.
            predictor: Id of the predictor to take; None takes the newest.
            img_size: Predict it for images of this size in pixels, at most its base's; None for its own.
            callback: Told how far a profile is.

        Raises:
            NuwaError: If nothing is called so, or a real device was not profiled yet; the hint profiles it.
        """
        spec = self.device(device)
        from nuwa_search.lab.predict import predict

        named = str(arch) if isinstance(arch, Path) else arch
        with watched(callback):
            whose = None if base is None else str(base)
            return predict(self.store, spec, named, base=whose, predictor_id=predictor, img_size=img_size)

    def predict_collaboration(
        self, collaboration: str | Path, *, network: str | Path | None = None
    ) -> "CollaborationPrediction":
        """Predict what several boards take together, on the network they were planned for or on another.

        Args:
            collaboration: A folder that ``decompose`` wrote, or the study of a decomposition.
            network: Rate and delay of one way (``100mbit,5ms``), or a file of ``nuwa collaborate probe``; None for the
                figures it was made with.

        Raises:
            NuwaError: If nothing is called so, or the network lacks one of its boards.
        """
        from nuwa_search.deploy.collaborate.folder import collaboration_folder
        from nuwa_search.lab.predict_collaboration import predict_collaboration

        folder = collaboration_folder(collaboration, None) or collaboration_folder(collaboration, self.store)
        if folder is None:
            raise NuwaError(
                f"{collaboration} is no folder of a collaboration, and no decomposition that this database knows",
                hint="nuwa query collaborations lists them",
            )
        return predict_collaboration(folder, network=None if network is None else str(network))

    def measure(
        self, model: str | Path, *, device: str = DEVICE, seed: int = 0, callback: "Callback | None" = None
    ) -> "MeasureAnswer":
        """Measure a bundle, an arch, a base or any ONNX file on a device, and store what came out.

        Args:
            model: What it names.
            device: Name of the device.
            seed: Of an emulated device's noise.
            callback: Told what is counted.

        Raises:
            NuwaError: If nothing is called so, or the device cannot take the model.
            OutsideError: If the device failed.
        """
        spec = self.device(device)
        from nuwa_search.lab.measure import measure

        with watched(callback):
            return measure(self.store, spec, str(model), seed=seed)

    def measure_sustained(
        self, model: str | Path, *, seconds: float, device: str = DEVICE, seed: int = 0
    ) -> "SustainedRun":
        """Keep a device busy with a model and tell its latency over time: whether it slows down.

        Args:
            model: A bundle, an arch, a base or any ONNX file.
            seconds: How long.
            device: Name of a real device.
            seed: Of what is drawn.

        Raises:
            NuwaError: If nothing is called so, or the device is emulated.
            OutsideError: If the device failed.
        """
        spec = self.device(device)
        require_statistic("sustained", spec)
        from nuwa_search.lab.measure import measure_sustained

        return measure_sustained(self.store, spec, str(model), seconds=seconds, seed=seed)
