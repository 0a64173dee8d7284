"""Cut one subnet and write it as a bundle, without a search: of an arch, or again one that is stored."""

import dataclasses
import functools
import shlex
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import Base, load_base
from nuwa_search.core.cache import Cache
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.img_size import ImgSize
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.core.logits import logits_of, top1
from nuwa_search.core.pooling import pool_of, pools_of
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.sized_tensors import SizedTensors
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.core.sources import open_task, random_note, task_base
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import TaskTensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import hash_tensors
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.missing import missing_from
from nuwa_search.deploy.ship import sample_images
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from nuwa_search.search.derive.defaults import options_for
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.identity import subnet_id
from nuwa_search.search.derive.net import placed_arch_from_text
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.placement import place_blocks
from nuwa_search.search.derive.reopen import Moved, Split, open_origin
from nuwa_search.search.recording.steps import DerivedSubnet, record_derivation
from nuwa_search.search.scorer import TeacherScorer
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.search_scores import SearchScore, find_search_score
from nuwa_search.store.store import Store

KL_TOLERANCE = 0.01
"""Share of a stored KL by which one taken again may differ: a processor without bf16 moves logits by half a percent
(``nuwa_search.search.precision``), and KL is quadratic in them."""


@dataclass(frozen=True)
class DeriveRequest:
    """What a subnet is cut from where no database says so.

    Args:
        base: Name or folder.
        data: The images; None for the package's sample.
        label_column: Label column of Parquet files.
        classes: None for all.
        seed: Seed of the splits, and of the images it is scored on.
        img_size: Of the base's images in pixels; None for its own.
    """

    base: str = DEMO_BASE
    data: str | None = None
    label_column: str | None = None
    classes: tuple[str, ...] | None = None
    seed: int = 0
    img_size: ImgSize | None = None


@dataclass(frozen=True, kw_only=True)
class DeriveAnswer(JsonFields):
    """A subnet that was cut: the `nuwa.derive/1` answer without its schema.

    Args:
        subnet_id: Arch, kept blocks, base, task and derivation.
        arch_id: Shape only.
        params: Weights.
        macs: Multiply-accumulates of one image.
        seconds: Seconds of the cut.
        kl_to_teacher: On the search split.
        top1_search: On the search split.
        top1_search_interval: 95 %.
        num_images: Images that the KL was taken on.
        dir: The bundle.
        notes: What was left out of the images, in sentences.
        missing: What the bundle lacks until it is ready to ship, in sentences.
    """

    subnet_id: str
    arch_id: str
    params: int
    macs: int
    seconds: float
    kl_to_teacher: float
    top1_search: float | None
    top1_search_interval: list[float] | None
    num_images: int
    dir: Path
    notes: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class StoredScore:
    """What the database says of a subnet as it was cut."""

    top1_search: float | None
    kl_to_teacher: float
    num_images: int


@dataclass(frozen=True)
class TunedScore:
    """What the database says of weights that were trained further."""

    top1: float
    split: str
    num_images: int


@dataclass(frozen=True, kw_only=True)
class DerivedAgain(DeriveAnswer):
    """A stored subnet that was cut again.

    Args:
        stored: What its row says; None where it was never scored.
        is_same: Whether that was found again; None likewise.
        top1_finetuned: Of weights that were trained further; None where there are none.
    """

    stored: StoredScore | None
    is_same: bool | None
    top1_finetuned: TunedScore | None


@dataclass(frozen=True)
class Ground:
    """Base and task, decoded: what subnets are cut from and scored on.

    Args:
        base: Base as loaded.
        task: Still encoded.
        split: How it was opened.
        tensors: Its train and search splits.
        teacher: The base with the task's head.
    """

    base: Base
    task: Task
    split: Split
    tensors: TaskTensors
    teacher: PlainViT

    @cached_property
    def sized(self) -> SizedTensors:
        """The same images at other sizes."""
        return SizedTensors(self.task, self.tensors)


def derive_arch(
    arch: Arch | str, request: DeriveRequest, *, store: Store, folder: Path, cache_dir: Path
) -> DeriveAnswer:
    """Derive ``arch`` from a base for the named classes, write a bundle without an export, and record both.

    Args:
        arch: An arch, a JSON file, a bundle, a base, or an arch id that stands for one net.
        request: What it is cut from.
        store: The database.
        folder: The bundle.
        cache_dir: Folder of cached statistics.

    Raises:
        NuwaError: If the arch does not fit in the base, or its id stands for several nets.
    """
    base = load_base(request.base, img_size=request.img_size, cache_dir=cache_dir)
    asked = arch if isinstance(arch, Arch) else placed_arch_from_text(arch, store, base_id=base.base_id)
    task = open_task(
        base, data=request.data, label_column=request.label_column, classes=request.classes, seed=request.seed
    )
    split = Split(request.label_column, request.seed, task.split_rule, task.metric)
    ground = _ground(base.for_task(task.kind), task, split, asked)
    answer, _ = _derive(
        _placed(asked, ground.teacher.arch),
        ground,
        options=options_for(ground.teacher.arch),
        stored=None,
        store=store,
        folder=folder,
        cache_dir=cache_dir,
    )
    return answer


def derive_subnet(identity: str, moved: Moved, *, store: Store, folder: Path, cache_dir: Path) -> DerivedAgain:
    """Derive a stored subnet again, as it was before any fine-tuning, and write it as a bundle.

    Args:
        identity: Its ``subnet_id``.
        moved: Where its base and images lie now.
        store: The database.
        folder: The bundle.
        cache_dir: Folder of cached statistics.

    Raises:
        NuwaError: If it is not stored, was not cut, or base or images are others now.
    """
    stored = find_search_score(store, identity)
    final = next((score for score in reversed(store.scores(identity)) if score.kind == "top1"), None)
    tunings = find_lineage(store, identity).finetunings
    origin = open_origin(identity, store=store, moved=moved)
    ground = _ground(origin.base, origin.task, origin.split, origin.record.arch)
    answer, weights_hash = _derive(
        origin.record.arch,
        ground,
        options=origin.options,
        stored=stored,
        store=store,
        folder=folder,
        cache_dir=cache_dir,
    )
    is_trained_further = final is not None and bool(tunings) and tunings[-1].weights_hash != weights_hash
    return DerivedAgain(
        **vars(answer),
        stored=StoredScore(stored.top1, stored.kl_to_teacher, stored.num_images) if stored else None,
        is_same=_is_same(answer, stored) if stored else None,
        top1_finetuned=TunedScore(final.value, final.split, final.num_images) if final and is_trained_further else None,
    )


def _ground(base: Base, task: Task, split: Split, arch: Arch) -> Ground:
    """Open what ``arch`` is cut from; a head that is fitted to a base without one reads what that of ``arch`` does."""
    tensors = task_tensors(task, base.preprocess)
    pool = pool_of(arch) if pools_of(base.arch, pool_of(arch)) else "auto"  # another misfit is told by the arch's fit
    return Ground(base, task, split, tensors, task_base(base, task, tensors, pool=pool).model)


def _derive(
    arch: Arch,
    ground: Ground,
    *,
    options: DeriveOptions,
    stored: SearchScore | None,
    store: Store,
    folder: Path,
    cache_dir: Path,
) -> tuple[DeriveAnswer, str]:
    """Cut, score, write and record; return the answer and the hash of the weights."""
    base, task, tensors = ground.base, ground.task, ground.tensors
    begun = time.monotonic()
    deriver = Deriver(
        ground.teacher,
        tensors.train,
        base.preprocess,
        cache=Cache(cache_dir / "derive"),
        options=options,
        train_at=ground.sized.train,
    )
    model = deriver.derive(arch)
    seconds = time.monotonic() - begun
    score = _scored(model, ground, stored)
    identity = subnet_id(arch, base.base_id, task.task_id, options)
    facts = BundleFacts(
        subnet_id=identity,
        base=base.name,
        base_id=base.base_id,
        base_licence=base.licence.name,
        base_licence_source=base.licence.source or None,
        data=task.data,
        label_column=ground.split.label_column,
        task_id=task.task_id,
        derivation=dataclasses.asdict(options),
        kl_to_teacher_derived=score.kl_to_teacher,
        top1_search_derived=score.top1,
        search_split_seen_by_base=task.search_split_seen_by_base,
        metric=task.metric,
    )
    preprocess = ground.sized.preprocess(arch.img_size)
    parts = BundleParts(model, arch, task.class_names, preprocess, samples=sample_images(task.test), facts=facts)
    write_bundle(folder, parts, replace=True)
    split = ground.split
    made = DerivedSubnet(
        identity, arch, base, task, options, None if stored else score, split.label_column, split.seed, folder
    )
    record_derivation(store, made)
    answer = DeriveAnswer(
        subnet_id=identity,
        arch_id=arch.arch_id,
        params=count_params(arch),
        macs=count_macs(arch),
        seconds=round(seconds, 2),
        kl_to_teacher=score.kl_to_teacher,
        top1_search=score.top1,
        top1_search_interval=interval_of_share(score.top1, score.num_images_top1),
        num_images=score.num_images,
        dir=folder,
        notes=(*random_note(ground.base), *task.notes, *tensors.notes),
        missing=missing_from({path.name for path in folder.iterdir()}, facts, where=shlex.quote(str(folder))),
    )
    return answer, hash_tensors(model.state_dict())


def _scored(model: PlainViT, ground: Ground, stored: SearchScore | None) -> SearchScore:
    """Score as a study does; where a score is stored, on its images and no others."""
    search, preprocess = ground.tensors.search, ground.base.preprocess
    seed = ground.split.seed if stored is None else stored.seed
    size = model.arch.img_size
    others = [] if size == preprocess.img_size else [ground.sized.search(size)]
    build = functools.partial(
        TeacherScorer,
        ground.teacher,
        search,
        preprocess,
        seed=seed,
        metric=ground.task.metric,
        known=ground.tensors.known,
        others=others,
    )
    scorer = build()
    usual = (scorer.num_first, len(scorer.inputs))
    if stored is not None and stored.num_images not in usual:  # by a version that took others, or gave up elsewhere
        scorer = build(num_images=stored.num_images)
    was_given_up = stored is not None and stored.num_images == scorer.num_first < len(scorer.inputs)
    score = scorer.score(model, give_up_above=-1.0 if was_given_up else None)
    found = SearchScore(score.kl, score.top1, score.num_images, score.num_images, seed)
    if stored is None or stored.num_images_top1 in (None, score.num_images):
        return found
    # `nuwa derive` of 494cfc3 took top1 on the whole split, and stored its number of images for the KL too
    whole = top1(logits_of(model, search.images, preprocess), search.labels)
    return dataclasses.replace(found, top1=whole, num_images_top1=len(search))


def _is_same(answer: DeriveAnswer, stored: SearchScore) -> bool:
    """Whether a subnet that was cut again scores as it did."""
    is_as_accurate = stored.top1 is None or answer.top1_search == stored.top1
    is_as_close = abs(answer.kl_to_teacher - stored.kl_to_teacher) <= KL_TOLERANCE * max(stored.kl_to_teacher, 1e-4)
    return bool(is_as_accurate and is_as_close)


def _placed(arch: Arch, base: Arch) -> Arch:
    """Give the arch the task's head, and place its blocks among those of the base where it has fewer."""
    headed = dataclasses.replace(arch, num_classes=base.num_classes)
    if base.is_dense:  # it answers for patches, whatever it read before
        headed = dataclasses.replace(headed, global_pool=base.global_pool)
    if len(headed.blocks) == len(base.blocks):
        return headed
    # Without scores the first and last blocks count most: they are what pretrained ViTs miss first.
    depth = len(base.blocks)
    worth = [abs(place - (depth - 1) / 2) for place in range(depth)]
    return place_blocks(headed, base, worth)
