"""A search database opened for work: the verbs of the command line as methods."""

import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack, overload

from nuwa_search.core.budget import require_statistic
from nuwa_search.core.counting import count
from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError, NuwaWarning
from nuwa_search.core.home import expanded
from nuwa_search.core.settings import default_cache_dir, without_secret
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.lab.derive import check_derive
from nuwa_search.lab.export_request import ExportWishes
from nuwa_search.lab.keywords import (
    DeriveKeywords,
    EvaluateKeywords,
    ExportKeywords,
    FinetuneKeywords,
    ProfileKeywords,
    QueryKeywords,
    SearchKeywords,
)
from nuwa_search.lab.profile_request import ProfileRequest
from nuwa_search.lab.query_filters import check_filters
from nuwa_search.lab.query_request import QueryRequest, Topic
from nuwa_search.lab.values import plain_values
from nuwa_search.lab.watching import watched
from nuwa_search.latency.devices.find import added_devices, find_device, opened_device
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.search.request import SearchRequest

if TYPE_CHECKING:
    from nuwa_search.core.arch import Arch
    from nuwa_search.core.device import DeviceSpec
    from nuwa_search.core.measuring.sustained import SustainedRun
    from nuwa_search.deploy.build import BuildAnswer
    from nuwa_search.deploy.evaluate import EvaluateAnswer
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer
    from nuwa_search.deploy.export_bundle import ExportAnswer
    from nuwa_search.lab.event import Callback
    from nuwa_search.lab.found import Found
    from nuwa_search.lab.measure import MeasureAnswer
    from nuwa_search.lab.predict import LatencyPrediction
    from nuwa_search.lab.profile import OnCost
    from nuwa_search.lab.table import Table
    from nuwa_search.lab.verify import Verified
    from nuwa_search.lab.verify_all import TouchedBundles
    from nuwa_search.latency.table.kit import KitFile
    from nuwa_search.predictors.profile_answer import ProfileAnswer
    from nuwa_search.search.derive.single import DeriveAnswer
    from nuwa_search.search.job.finetune import FinetuneAnswer
    from nuwa_search.search.job.search_plan import SearchPlan
    from nuwa_search.store.store import Store

DEVICE = SearchRequest.device
"""The device of a verb that names none: an emulated Jetson Nano, as on the command line."""


def warn_of(text: str) -> None:
    """Tell a note of the library's as a warning of the caller's line."""
    warnings.warn(text, NuwaWarning, stacklevel=4)  # this, _tell, the verb, who called it


class Lab:
    """A search database with the verbs of the command line; ``nuwa_search.open`` makes one.

    The database is opened by the first verb that needs it, and closed at the end of a ``with`` block or by ``close``.
    One lab belongs to one thread. Several labs, in one process or in many, may work on one database at once.

    Args:
        url: ``sqlite:///path``, ``postgresql://user@host/name``, or the path of a SQLite file.
        cache_dir: Folder for caches that can be deleted at any time; None for the user's.
        say: Told what a person should know beside an answer, in sentences; None warns with ``NuwaWarning``.
    """

    def __init__(self, url: str, *, cache_dir: Path | None = None, say: Callable[[str], None] | None = None) -> None:
        self.url = url
        self.cache_dir = expanded(cache_dir or default_cache_dir())
        self._say = say or warn_of

    @cached_property
    def store(self) -> "Store":
        """The database, for what no verb does; see docs/database.md."""
        from nuwa_search.store.store import open_store  # SQLAlchemy, which a refused call does without

        return open_store(self.url)

    def close(self) -> None:
        """Close the database; the next verb would open it again."""
        if "store" in vars(self):
            self.store.close()
            del self.store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Lab({without_secret(self.url)!r})"

    def devices(self) -> "dict[str, DeviceSpec]":
        """Return the devices by name: built in, and added by the user."""
        return builtin_specs() | added_devices(self.store)

    def device(self, name: str) -> "DeviceSpec":
        """Return the spec of a device.

        Raises:
            NuwaError: If no device has that name; the known ones are named.
        """
        return find_device(name, self.store)

    def query(self, topic: Topic = "subnets", **filters: Unpack[QueryKeywords]) -> "Table":
        """Ask the database; ``.to_frame()`` makes a pandas frame of the answer.

        Args:
            topic: ``subnets``, ``latencies``, ``studies``, ``devices`` or ``certificates``.
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

    def predict(
        self,
        arch: "Arch | str | Path",
        *,
        device: str = DEVICE,
        base: str | Path | None = None,
        predictor: str | None = None,
        callback: "Callback | None" = None,
    ) -> "LatencyPrediction":
        """Predict the latency of an arch without touching the device.

        Args:
            arch: An ``Arch``, an arch id, an arch JSON file, a bundle, or a base.
            device: Name of the device; an emulated one is profiled first where it has no predictor for the base.
            base: Whose subnet it is; None takes the package's base where it fits in, or the arch itself.
            predictor: Id of the predictor to take; None takes the newest.
            callback: Told how far a profile is.

        Raises:
            NuwaError: If nothing is called so, or a real device was not profiled yet; the hint profiles it.
        """
        spec = self.device(device)
        from nuwa_search.lab.predict import predict

        named = str(arch) if isinstance(arch, Path) else arch
        with watched(callback):
            return predict(self.store, spec, named, base=None if base is None else str(base), predictor_id=predictor)

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

    def search(
        self,
        *,
        study: str | None = None,
        resume: bool = False,
        callback: "Callback | None" = None,
        **options: Unpack[SearchKeywords],
    ) -> "Found":
        """Cut a base to a latency budget, fine-tune the winner, and prove it on the device.

        Ctrl-C leaves everything saved; the note on the ``KeyboardInterrupt`` is the call that goes on.

        Args:
            study: Name of the study; None makes one.
            resume: Go on with that study as it was started; only options that may change may be given then.
            callback: Told every stage, count, trial and step.
            options: ``budget_ms`` and the further options of docs/options.md.

        Raises:
            NuwaError: If input is wrong, or the study runs elsewhere.
            NoSubnetError: If no subnet keeps the budget; its ``found`` names the fastest.
            OutsideError: If the device or the database failed.
        """
        from nuwa_search.lab.search import (
            check_beginning,
            fields_from_keywords,
            new_beginning,
            run_beginning,
            stored_beginning,
        )

        fields = fields_from_keywords(options)
        beginning = stored_beginning(self.store, study, fields) if resume else new_beginning(fields, study=study)
        check_beginning(beginning, self.store)
        self._tell(beginning.notes)
        with watched(callback, go_on=f"lab.search(study={beginning.study!r}, resume=True)") as hooks:
            return run_beginning(beginning, store=self.store, cache_dir=self.cache_dir, hooks=hooks)

    def plan_search(self, *, study: str = "planned", **options: Unpack[SearchKeywords]) -> "SearchPlan":
        """Say what a search would do and how long it would take, without doing it.

        Args:
            study: Name that it would have.
            options: As of ``search``.

        Raises:
            NuwaError: If input is wrong.
        """
        from nuwa_search.lab.search import check_beginning, fields_from_keywords, new_beginning

        beginning = new_beginning(fields_from_keywords(options), study=study)
        check_beginning(beginning, self.store)
        from nuwa_search.search.job.search_plan import plan_search

        return plan_search(beginning.request, self.store, study=study)

    def profile(
        self,
        device: str,
        *,
        on_cost: "OnCost | None" = None,
        callback: "Callback | None" = None,
        **wishes: Unpack[ProfileKeywords],
    ) -> "ProfileAnswer":
        """Measure what a device's latency table lacks for a base, and fit its predictor.

        Stopped at any moment, the same call goes on where it was.

        Args:
            device: Name of the device.
            on_cost: Told what the rest of a board's profile costs, once the first engine was timed; what it raises
                stops there, with everything saved.
            callback: Told how far it is.
            wishes: ``base``, ``img_size``, ``minutes``, ``seed``; ``from_`` transfers another device's predictor,
                ``import_`` reads back what a kit's script measured.

        Raises:
            NuwaError: If input is wrong.
            OutsideError: If the device failed.
        """
        spec = self.device(device)
        request = ProfileRequest(**plain_values(wishes))
        if request.from_ is not None:
            self.device(request.from_)
        require_demo(request.base, needs_images=False)
        from nuwa_search.lab.profile import profile

        with watched(callback, go_on=f"lab.profile({device!r}, …)") as hooks:
            progress = None if callback is None else hooks.count
            return profile(self.store, spec, request, progress=progress or count, on_cost=on_cost, say=self._say)

    def write_kit(
        self, device: str, folder: str | Path, *, base: str | Path = DEMO_BASE, img_size: int | None = None
    ) -> "list[KitFile]":
        """Write ONNX files and one script for a board without SSH; ``profile(…, import_=folder)`` reads them back.

        Args:
            device: Name of the board's device.
            folder: New or empty.
            base: Whose subnets are measured.
            img_size: Side of its images in pixels; None for its own.

        Raises:
            NuwaError: If nothing is called so, or the folder is not free.
        """
        spec = self.device(device)
        require_demo(str(base), needs_images=False)
        from nuwa_search.lab.profile import write_kit_of

        return write_kit_of(expanded(folder), str(base), spec, img_size=img_size)

    def derive(
        self,
        arch: "Arch | str | Path | None" = None,
        *,
        output: str | Path,
        subnet: str | None = None,
        replace: bool = False,
        callback: "Callback | None" = None,
        **source: Unpack[DeriveKeywords],
    ) -> "DeriveAnswer":
        """Cut one subnet out of a base in closed form and write it as a bundle, without a search.

        Args:
            arch: An ``Arch``, a JSON file, a bundle, or an arch id that stands for one net; None with ``subnet``.
            output: Folder of the bundle.
            subnet: Id of a stored subnet: exactly the net that was scored; ``base`` and ``data`` then say where its
                base and images lie now, if they were moved.
            replace: Whether a bundle in that folder may be replaced.
            callback: Told what is counted.
            source: What it is cut from and for: ``base``, ``data``, ``classes``, …

        Raises:
            NuwaError: If the arch does not fit in the base, or the folder holds a bundle already.
        """
        check_derive(arch, subnet=subnet, given=source)
        fields = plain_values(source)
        if subnet is None:
            require_demo(fields.get("base", DEMO_BASE), data=fields.get("data"))
        folder = expanded(output)
        from nuwa_search.deploy.bundle import is_bundle
        from nuwa_search.lab.derive import derive

        if is_bundle(folder) and not replace:
            raise NuwaError(f"{folder} holds a bundle already", hint="replace=True replaces it")
        named = str(arch) if isinstance(arch, Path) else arch
        with watched(callback):
            answer = derive(self.store, named, subnet=subnet, folder=folder, cache_dir=self.cache_dir, source=fields)
        self._tell(answer.notes)
        return answer

    @overload
    def evaluate(
        self, model: str | Path, *, callback: "Callback | None" = None, **what: Unpack[EvaluateKeywords]
    ) -> "EvaluateAnswer": ...
    @overload
    def evaluate(
        self,
        model: str | Path,
        *,
        device: str,
        images: int | None = None,
        seed: int = 0,
        callback: "Callback | None" = None,
        **what: Unpack[EvaluateKeywords],
    ) -> "DeviceEvaluateAnswer": ...
    def evaluate(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        images: int | None = None,
        seed: int = 0,
        callback: "Callback | None" = None,
        **what: Unpack[EvaluateKeywords],
    ) -> "EvaluateAnswer | DeviceEvaluateAnswer":
        """Evaluate a bundle or a base on images, or a bundle's engine on its device.

        Args:
            model: Folder of a bundle, or a base.
            device: Where the engine itself runs, image by image; None runs the weights here.
            images: How many a device is asked for; None for 32.
            seed: Of drawing them.
            callback: Told what is counted.
            what: ``data``, ``classes``, ``split``, …

        Raises:
            NuwaError: If the images have none of the classes, or the device is emulated.
            OutsideError: If the device failed; answers that came are kept.
        """
        spec = None if device is None else self.device(device)
        if images is not None and spec is None:
            raise NuwaError("--images says how many images a device is asked for", hint="name it with --device")
        from nuwa_search.deploy.evaluate import EvaluateRequest, evaluate

        request = EvaluateRequest(str(model), **plain_values(what, relative=("data",)))
        with watched(callback, go_on=f"lab.evaluate({str(model)!r}, …)" if spec else "") as hooks:
            if spec is None:
                answer: EvaluateAnswer | DeviceEvaluateAnswer = evaluate(request)
            else:
                from nuwa_search.deploy.evaluate_on_device import evaluate_on_device
                from nuwa_search.deploy.on_device import NUM_IMAGES

                answer = evaluate_on_device(
                    request,
                    spec=spec,
                    open_device=opened_device,
                    num_images=images or NUM_IMAGES,
                    seed=seed,
                    cache_dir=self.cache_dir,
                    say=hooks.step,
                )
        self._tell(answer.notes)
        return answer

    def finetune(
        self,
        folder: str | Path,
        *,
        resume: bool = False,
        callback: "Callback | None" = None,
        **wishes: Unpack[FinetuneKeywords],
    ) -> "FinetuneAnswer":
        """Fine-tune the model of a bundle with its base as teacher; its export is then out of date and removed.

        Args:
            folder: The bundle.
            resume: Go on where a run was interrupted, with the settings it was started with.
            callback: Told every scored step.
            wishes: ``steps`` or ``epochs``, ``data``, ``teacher``, …

        Raises:
            NuwaError: If the data lacks classes of the bundle, or there is nothing to resume.
        """
        from nuwa_search.deploy.train.finetune_request import FinetuneRequest
        from nuwa_search.search.job.finetune import finetune_bundle

        with watched(callback, go_on=f"lab.finetune({str(folder)!r}, resume=True)") as hooks:
            return finetune_bundle(
                Path(folder),
                FinetuneRequest(**plain_values(wishes, relative=("base", "data"))),
                resume=resume,
                named=set(wishes),
                store=self.store,
                cache_dir=self.cache_dir,
                hooks=hooks,
            )

    def export(
        self,
        folder: str | Path,
        *,
        device: str = DEVICE,
        replace: bool = False,
        callback: "Callback | None" = None,
        **wishes: Unpack[ExportKeywords],
    ) -> "ExportAnswer":
        """Write the ONNX model of a bundle for a device, checked against the weights, measured and certified.

        Args:
            folder: The bundle.
            device: Name of the device.
            replace: Whether an export for another device may be replaced.
            callback: Told what is counted.
            wishes: ``precision``, ``budget_ms``, ``input_kind``, …

        Raises:
            NuwaError: If the device cannot take the model.
            NoAnswerError: If the export does not agree with the weights.
            OutsideError: If the device failed.
        """
        spec = self.device(device)
        from nuwa_search.lab.export import export

        with watched(callback):
            answer = export(
                self.store,
                Path(folder),
                spec,
                ExportWishes(**plain_values(wishes, relative=("base", "data"))),
                replace=replace,
                say=self._say,
            )
        self._tell(getattr(answer, "notes", ()))
        return answer

    def build(
        self,
        folder: str | Path,
        *,
        device: str = DEVICE,
        workspace_mb: int | None = None,
        timing_cache: str | Path | None = None,
        replace: bool = False,
    ) -> "BuildAnswer":
        """Build a bundle's engine on this machine's GPU, or name the line that builds it on the board.

        Args:
            folder: The bundle.
            device: Name of the device.
            workspace_mb: Builder workspace; None for an eighth of the device's memory.
            timing_cache: File that keeps kernel timings between builds.
            replace: Whether an engine that is there may be replaced.

        Raises:
            NuwaError: If the bundle was exported for another device, or the device has no engines.
            NoAnswerError: If the engine does not agree with the weights.
        """
        spec = self.device(device)
        from nuwa_search.deploy.build import BuildRequest
        from nuwa_search.lab.export import build

        request = BuildRequest(spec, workspace_mb, None if timing_cache is None else str(timing_cache))
        return build(self.store, Path(folder), request, replace=replace, say=self._say)

    def verify(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        seed: int = 0,
        callback: "Callback | None" = None,
    ) -> "Verified":
        """Check a bundle's files and models, and with a device its latency and its engine there.

        Args:
            folder: The bundle.
            device: Name of the device; None checks files and models alone.
            seed: Of an emulated device's noise.
            callback: Told what is counted.

        Raises:
            NuwaError: If the folder is no bundle.
            DamagedBundleError: If a part of it is missing or damaged.
            OutsideError: If the device failed.
        """
        spec = None if device is None else self.device(device)
        from nuwa_search.lab.verify import verify

        with watched(callback):
            return verify(self.store, Path(folder), spec, seed=seed)

    def verify_all(self, *, device: str, below: str | Path | None = None) -> "TouchedBundles":
        """Say which bundles a device's software of today touches: to be built, or to be measured again.

        Args:
            device: Name of the device.
            below: Folder that holds the bundles; None for those that the database knows.

        Raises:
            NuwaError: If there is no such folder.
            OutsideError: If the device cannot be reached.
        """
        spec = self.device(device)
        from nuwa_search.lab.verify_all import verify_all

        return verify_all(self.store, spec, below=None if below is None else Path(below))

    def _tell(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._say(note)
