"""The main job: from a budget in milliseconds to a bundle that runs."""

import dataclasses
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.allocator import give_back_memory, keep_freed_memory
from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Verdict
from nuwa_search.core.cache import Cache
from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.counting import counts_to
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.measuring.sustained import judged_by
from nuwa_search.core.out_of_memory import is_out_of_memory, out_of_memory
from nuwa_search.deploy.ship import check_bundle_dir
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.search.budget_part import BudgetPart
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.statistics import Moments
from nuwa_search.search.derive_command import on_database
from nuwa_search.search.executor.here import Here
from nuwa_search.search.executor.needs import Needs
from nuwa_search.search.executor.opened import opened_executor, require_executor
from nuwa_search.search.feasible import BudgetTooSmallError
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.base_sizes import bases_at_sizes
from nuwa_search.search.job.clock import StageClock
from nuwa_search.search.job.computing import computing_device, said_device
from nuwa_search.search.job.deadline import deadline_in
from nuwa_search.search.job.deliver import deliver, front_of
from nuwa_search.search.job.event_log import EventLog, log_of_search
from nuwa_search.search.job.explain import explanation_of
from nuwa_search.search.job.find import Finder
from nuwa_search.search.job.inputs import (
    Inputs,
    Sources,
    decode_inputs,
    open_sources,
    record_inputs,
    task_begun_with,
)
from nuwa_search.search.job.moved_on import require_origin
from nuwa_search.search.job.reachable import require_reachable
from nuwa_search.search.job.same_sources import require_sources_of
from nuwa_search.search.job.search_run import SearchRun, SearchStart
from nuwa_search.search.job.searched_sizes import searched_sizes
from nuwa_search.search.job.settle import Settled, settle
from nuwa_search.search.job.survey import Survey, survey_devices, with_teacher
from nuwa_search.search.job.tune import require_finetune_place
from nuwa_search.search.keep import kept_parts
from nuwa_search.search.recording.records import optuna_url
from nuwa_search.search.repair import Reading
from nuwa_search.search.request import SearchRequest, dict_from_request
from nuwa_search.search.result import (
    BasePart,
    Delivered,
    Fastest,
    FrontPoint,
    Missed,
    SearchResult,
    TaskPart,
    artifacts_from_bundle,
    counts_from_study,
)
from nuwa_search.store.heartbeat import Heartbeat
from nuwa_search.store.records import SearchState, SearchTerms
from nuwa_search.store.same_device import require_study_of
from nuwa_search.store.store import Store


@dataclass(frozen=True)
class SearchOutcome:
    """What a search came to.

    Args:
        result: The answer.
        base_arch: Of the base with the task's head; None where nothing is shipped.
        error: What to end with where the answer is no.
        explanation: Why this arch, for people; empty unless asked for.
        front: Scored subnets that no other one of the study beats in predicted latency and KL.
    """

    result: SearchResult
    base_arch: Arch | None
    error: NuwaError | None = None
    explanation: str = ""
    front: tuple[FrontPoint, ...] = ()


def run_search(
    request: SearchRequest, *, store: Store, study: str, resume: bool, cache_dir: Path, hooks: Hooks | None = None
) -> SearchOutcome:
    """Search, fine-tune, export, verify, measure, and write the bundle; every step is recorded.

    Args:
        request: What is asked for, with all options.
        store: The database.
        study: Name of the study; exactly one process can run it.
        resume: Whether a study that was left may be continued.
        cache_dir: For statistics, libraries and checkpoints; may be deleted at any time.
        hooks: Callbacks that are told of progress.

    Raises:
        NuwaError: If input is wrong or the study runs elsewhere.
        NoAnswerError: If the winner's export is not right.
        KeyboardInterrupt: On Ctrl-C, with everything saved.
    """
    clock = StageClock()
    keep_freed_memory()
    check_bundle_dir(Path(request.bundle_dir), study=study)
    computing_device(request)  # one that is missing is told before anything is opened
    require_executor(request.executor)
    require_origin(request, store)
    origin = study if resume else request.from_study
    begun = None if origin is None else task_begun_with(origin, store)
    sources = open_sources(request, store, begun=begun, cache_dir=cache_dir)
    if origin is not None:
        require_sources_of(sources, origin, store)
    require_study_of(sources.device, study, store)
    record_inputs(sources, store, label_column=request.label_column, seed=request.seed)
    told = hooks or Hooks()
    # before the study is claimed: a cluster that is refused leaves none behind
    with opened_executor(request.executor, address=request.ray_address, say=told.step) as executor:
        claim = store.start_search(study, _terms(request, sources), resume=resume)
        log = log_of_search(store, study, wanted=request.trials)
        log.say("state", {"state": "running", "reason": ""})
        watched = _timed(log.hooks(hooks), clock)
        for note in sources.notes:
            watched.step(note)
        start = SearchStart(request, sources, store, claim, cache_dir, watched, clock, executor)
        try:
            with Heartbeat(store, claim), counts_to(watched.count):
                return _kept(start, log)
        finally:
            give_back_memory()


def _terms(request: SearchRequest, sources: Sources) -> SearchTerms:
    return SearchTerms(
        device_id=sources.device.device_id,
        budget_ms=request.budget_ms,
        seed=request.seed,
        settings=dict_from_request(request),
        base_id=sources.base.base_id,
        task_id=sources.task.task_id,
    )


def _kept(start: SearchStart, log: EventLog) -> SearchOutcome:
    """Search, and record how it ended."""
    try:
        outcome = _searched(start)
    except BaseException as error:
        state: SearchState = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        told = error
        if is_out_of_memory(error):
            traceback.clear_frames(error.__traceback__)  # they hold what filled the memory, and the end is to be stored
            words = ("nuwa-search", "--study", start.claim.study, "--resume")
            told = out_of_memory(error, go_on=on_database(*words, db=start.store.command_url))
        start.store.finish_search(start.claim, state)
        log.say("state", {"state": state, "reason": str(told)})
        if told is error:
            raise
        raise told from error
    state = "done" if outcome.error is None else "infeasible"
    start.store.finish_search(start.claim, state, result=outcome.result.to_json())
    log.say("state", {"state": state, "reason": outcome.error.message if outcome.error else ""})
    return outcome


def _searched(start: SearchStart) -> SearchOutcome:
    """Take every step, with the devices open; what needs no image comes before any is decoded."""
    request = start.request
    with ExitStack() as stack:
        opened = [
            stack.enter_context(opened_device(spec, seed=request.seed, store=start.store, reach=start.executor.reach))
            for spec in start.sources.devices
        ]
        devices = [judged_by(device, request.budget_statistic) for device in opened]
        start.hooks.stage("profile")
        surveys = survey_devices(start, devices)
        sizes = searched_sizes(start, surveys)
        try:
            require_reachable(surveys, start.sources, keep=request.keep, img_sizes=sizes)
            start.hooks.stage("statistics")
            run = SearchRun(**vars(start), inputs=_decoded(start))
            for note in run.inputs.decoded_notes:
                run.hooks.step(note)
            require_finetune_place(run.request, run.inputs, run.executor)
            surveys = tuple(with_teacher(survey, start, run.inputs.teacher.model) for survey in surveys)
            settled = settle(run, _finder(run, surveys, sizes))
        except BudgetTooSmallError as error:
            return SearchOutcome(_result(start, surveys, _fastest(error), too_small=error), None, error)
        return _delivered(run, surveys, settled)


def _decoded(start: SearchStart) -> Inputs:
    """Decode the images and fit a head where one is needed, counted."""
    count, device = start.hooks.count, computing_device(start.request)
    for words in said_device(device):
        start.hooks.step(words)
    heads = Cache(start.cache_dir / "task")
    return decode_inputs(
        start.sources,
        on_images=lambda done, total: count("head: images", done, total),
        cache=heads,
        device=device,
    )


def _delivered(run: SearchRun, surveys: Sequence[Survey], settled: Settled) -> SearchOutcome:
    """Ship the winner, or return why nothing is shipped."""
    repaired = settled.repaired
    readings = repaired.attempts[-1].readings
    budget = "budget" if len(surveys) == 1 else "budgets"
    if repaired.finished is None:
        too_small = repaired.too_small
        missed = Missed(
            verdict=repaired.verdict,
            trials=counts_from_study(settled.study),
            repairs=repaired.num_repairs,
            fastest=None if too_small is None else _fastest(too_small),
        )
        no_subnet = _no_answer(run, f"no subnet keeps its {budget} when measured: {repaired.reason}", missed.verdict)
        return SearchOutcome(_result(run, surveys, missed, readings=readings, too_small=too_small), None, no_subnet)
    delivered, accuracies, sized = deliver(run, surveys, settled, repaired.finished)
    own = accuracies.restricted
    tested: dict[ImgSize, ClassScores] = {run.inputs.base.arch.img_size: own} if isinstance(own, ClassScores) else {}
    if sized is not None:
        tested[delivered.subnet.arch.img_size] = sized
    at_sizes = bases_at_sizes(settled.space, surveys, settled.library, base_score=settled.base_score, tested=tested)
    result = _result(run, surveys, delivered, readings=readings)
    base = dataclasses.replace(result.base, accuracies=accuracies, at_sizes=at_sizes)
    return SearchOutcome(
        result=dataclasses.replace(result, base=base),
        base_arch=run.inputs.teacher.model.arch,
        error=None
        if delivered.is_feasible
        else _no_answer(run, f"the winner misses its {budget} as it was shipped: {repaired.reason}", delivered.verdict),
        explanation=explanation_of(settled, surveys) if run.request.explain else "",
        front=front_of(run, settled.study),
    )


def _timed(hooks: Hooks, clock: StageClock) -> Hooks:
    """Time every stage that is told, and give unused memory back before it: it allocates blocks of other sizes."""

    def stage(name: str) -> None:
        give_back_memory()
        clock.stage(name)
        hooks.stage(name)

    return dataclasses.replace(hooks, stage=stage)


def _finder(run: SearchRun, surveys: tuple[Survey, ...], img_sizes: tuple[ImgSize, ...]) -> Finder:
    """Gather the statistics of the base on the training images, and start the clock of the time limit."""
    inputs = run.inputs
    deriver = Deriver(
        inputs.teacher.model,
        inputs.tensors.train,
        inputs.base.preprocess,
        cache=Cache(run.cache_dir / "derive"),
        options=options_for(inputs.teacher.model.arch),
        train_at=inputs.sized.train,
    )
    plan = deriver.prepare(
        on_images=Here(lambda what, done, total: run.hooks.count(f"{what}: images", done, total)),
        run=lambda work: run.executor.call(work, needs=Needs("statistics", cpus=run.executor.threads)),
    )
    deriver.prepare_sizes(img_sizes)
    run.hooks.step(_said_of_statistics(deriver.options, plan.moments, num_train=len(inputs.task.train)))
    return Finder(
        request=run.request,
        inputs=inputs,
        store=run.store,
        surveys=surveys,
        cache=Cache(run.cache_dir / "search"),
        deriver=deriver,
        hooks=run.hooks,
        study_name=run.claim.study,
        storage_url=optuna_url(run.store),
        deadline=deadline_in(run.request.timeout_s),
        executor=run.executor,
        img_sizes=img_sizes,
    )


def _said_of_statistics(options: DeriveOptions, moments: Moments, *, num_train: int) -> str:
    """Describe the images of the statistics, and how sure the ranking of neurons is where that ended them."""
    if not options.moment_tokens:
        return f"statistics of {num_train} training images: every cut is a solve away"
    return (
        f"statistics of {moments.num_images} of {num_train} training images, {options.moment_tokens} patches each: "
        f"every cut is a solve away; other images would keep {100 * moments.ranking_error:.1f} % other neurons"
    )


def _fastest(error: BudgetTooSmallError) -> Fastest:
    """Return the arch that is fastest on the first device."""
    if error.by_device:
        return Fastest(error.by_device[0].arch, error.by_device[0].predicted_latency_ms)
    return Fastest(error.fastest, error.predicted_latency_ms)


def _result(
    run: SearchStart,
    surveys: Sequence[Survey],
    ending: Fastest | Missed | Delivered,
    *,
    readings: Sequence[Reading] = (),
    too_small: BudgetTooSmallError | None = None,
) -> SearchResult:
    base, first = run.sources.base, surveys[0]
    return SearchResult(
        study=run.claim.study,
        budget=first.budget,
        budget_binds=first.budget_binds,
        seed=run.request.seed,
        predictor_id=first.start.predictor_id,
        device=run.sources.device,
        task=_task_part(run.inputs if isinstance(run, SearchRun) else run.sources),
        base=BasePart(base.name, base.arch, first.base_measurement),
        ending=ending,
        seconds=run.seconds,
        metric=run.sources.task.metric,
        kept=kept_parts(base.arch, run.request.keep),
        budgets=tuple(
            _budget_part(surveys, place, ending, readings=readings, too_small=too_small)
            for place in range(len(surveys))
        ),
    )


def _budget_part(
    surveys: Sequence[Survey],
    place: int,
    ending: Fastest | Missed | Delivered,
    *,
    readings: Sequence[Reading],
    too_small: BudgetTooSmallError | None,
) -> BudgetPart:
    """Return the outcome for one device's budget."""
    survey = surveys[place]
    bundles = ending.bundles if isinstance(ending, Delivered) else ()
    bundle = bundles[place] if place < len(bundles) else None
    fastest = nearest_ms = None
    if too_small is not None and too_small.limit == "latency":
        by_device = too_small.by_device
        fastest = (too_small.fastest, too_small.predicted_latency_ms)
        if by_device:
            fastest = (by_device[place].arch, by_device[place].predicted_latency_ms)
        nearest_ms = too_small.nearest[place].predicted_latency_ms if too_small.nearest else None
    return BudgetPart(
        device=survey.spec,
        budget=survey.budget,
        base=survey.base_measurement,
        predictor_id=survey.start.predictor_id,
        reading=readings[place] if readings else None,
        fastest=fastest,
        nearest_ms=nearest_ms,
        dir=None if bundle is None else bundle.dir,
        certificate=None if bundle is None else artifacts_from_bundle(bundle).certificate,
    )


def _task_part(sources: Sources) -> TaskPart:
    task = sources.task
    return TaskPart(
        data=task.data,
        classes=task.class_names,
        num_train=len(task.train),
        num_search=len(task.search),
        num_test=len(task.test),
        search_split_seen_by_base=task.search_split_seen_by_base,
        head_fitted=sources.has_fitted_head,
        notes=sources.notes,
    )


def _no_answer(run: SearchRun, message: str, missed: Verdict) -> NoAnswerError:
    hints = []
    slow = [one.device or run.inputs.device.name for one in missed.excesses if one.limit == "latency"]
    hints += [f"profile the device again: nuwa profile {name}" for name in slow]
    if missed.exceeds("memory"):
        hints.append("give a larger --max-memory-mb, or a smaller base")
    return NoAnswerError(message, hint="; ".join(hints))
