"""Verbs over bundles: cut, evaluated, trained, exported, built and checked."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.lab.derive import check_derive
from nuwa_search.lab.export_request import ExportWishes
from nuwa_search.lab.keywords import (
    DeriveKeywords,
    EvaluateKeywords,
    ExportKeywords,
    FinetuneKeywords,
)
from nuwa_search.lab.opened import DEVICE, OpenedLab
from nuwa_search.lab.values import plain_values
from nuwa_search.lab.watching import watched
from nuwa_search.latency.devices.find import opened_device

if TYPE_CHECKING:
    from nuwa_search.core.arch import Arch
    from nuwa_search.deploy.build import BuildAnswer
    from nuwa_search.deploy.evaluate import EvaluateAnswer
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer
    from nuwa_search.deploy.export_bundle import ExportAnswer
    from nuwa_search.lab.event import Callback
    from nuwa_search.lab.verify import Verified
    from nuwa_search.lab.verify_all import TouchedBundles
    from nuwa_search.search.derive.single import DeriveAnswer
    from nuwa_search.search.job.finetune import FinetuneAnswer


class BundleVerbs(OpenedLab):
    """Work on bundles."""

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
                    open_device=partial(opened_device, store=self.store),
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
        """Return which bundles a device's software of today touches: to be built, or to be measured again.

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
