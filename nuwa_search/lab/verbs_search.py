"""Verbs that compute for long: profiles and searches."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nuwa_search.core.counting import count
from nuwa_search.core.demo_packages import require_demo
from nuwa_search.core.home import expanded
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.lab.keywords import (
    DecomposeKeywords,
    ProfileKeywords,
    SearchKeywords,
)
from nuwa_search.lab.opened import OpenedLab
from nuwa_search.lab.profile_request import ProfileRequest
from nuwa_search.lab.values import plain_values
from nuwa_search.lab.watching import watched

if TYPE_CHECKING:
    from nuwa_search.lab.event import Callback
    from nuwa_search.lab.found import Found
    from nuwa_search.lab.profile import OnCost
    from nuwa_search.latency.table.kit import KitFile
    from nuwa_search.predictors.profile_answer import ProfileAnswer
    from nuwa_search.search.collaborate.answer import Decomposed
    from nuwa_search.search.job.search_plan import SearchPlan


class SearchingVerbs(OpenedLab):
    """Profile devices and search."""

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
            wishes: ``base``, ``img_size``, ``img_sizes``, ``minutes``, ``seed``; ``from_`` transfers another device's
                predictor, ``import_`` reads back what a kit's script measured.

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
        self, device: str, folder: str | Path, *, base: str | Path = DEMO_BASE, img_size: ImgSize | None = None
    ) -> "list[KitFile]":
        """Write ONNX files and one script for a board without SSH; ``profile(…, import_=folder)`` reads them back.

        Args:
            device: Name of the board's device.
            folder: New or empty.
            base: Whose subnets are measured.
            img_size: Of its images in pixels; None for its own.

        Raises:
            NuwaError: If nothing is called so, or the folder is not free.
        """
        spec = self.device(device)
        require_demo(str(base), needs_images=False)
        from nuwa_search.lab.profile import write_kit_of

        return write_kit_of(expanded(folder), str(base), spec, img_size=img_size)

    def plan_search(self, *, study: str = "planned", **options: Unpack[SearchKeywords]) -> "SearchPlan":
        """Return what a search would do and how long it would take, without doing it.

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

    def decompose(
        self, *, study: str | None = None, callback: "Callback | None" = None, **options: Unpack[DecomposeKeywords]
    ) -> "Decomposed":
        """Cut a base into a sub-model for each of several devices, fused to one answer within a budget.

        Ctrl-C leaves everything saved, and the same call with the same ``study`` goes on.

        Args:
            study: Its name; None makes one.
            callback: Told every stage, count, trial and step.
            options: ``devices``, ``budget_ms`` and what ``nuwa decompose`` takes as flags.

        Raises:
            NuwaError: If input is wrong, or a search of that name was begun with other options.
            NoAnswerError: If a sub-model finds nothing within its own budget.
        """
        from nuwa_search.lab.decompose import check_decompose, decompose_beginning, run_decomposition

        beginning = decompose_beginning(options, study=study)
        check_decompose(beginning, self.store)
        with watched(callback, go_on=f"lab.decompose(study={beginning.study!r}, …)") as hooks:
            return run_decomposition(beginning, store=self.store, cache_dir=self.cache_dir, hooks=hooks)
