"""Subnets, their scores and predicted latencies in the database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, case, delete, or_, select, update

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, arch_from_dict
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.archs import insert_archs
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.fronts import mend_fronts
from nuwa_search.store.latencies import upsert_predicted
from nuwa_search.store.records import PredictedLatency, ScoreRecord, SubnetRecord
from nuwa_search.store.rows import chunks, need_pk, need_pks, upsert
from nuwa_search.store.tables import ArchRow, BaseNetRow, ScoreRow, SearchRow, SubnetRow, TaskRow

# Best-founded first: final weights before derived ones, the test split before the search split.
# Training images say nothing about accuracy and never stand for it.
_KINDS = ("top1", "top1_derived")
_SPLITS = ("test", "search")
RETIRED_TOP1 = "top1_before_finetune"
"""Kind of an accuracy whose weights were fine-tuned further; queries do not count it."""


def _kept_blocks(arch: Arch) -> str:
    return "".join("0" if block.is_empty else "1" for block in arch.blocks)


def _arch_with_gaps(compact: Arch, kept_blocks: str) -> Arch:
    left = iter(compact.blocks)
    return replace(compact, blocks=tuple(next(left) if kept == "1" else EMPTY_BLOCK for kept in kept_blocks))


def insert_subnets(connection: Connection, records: Sequence[SubnetRecord]) -> None:
    """Store the subnets that are new, with their archs."""
    archs = insert_archs(connection, (record.arch for record in records))
    bases = need_pks(connection, BaseNetRow.pk, BaseNetRow.base_id, (r.base_id for r in records), noun="base")
    tasks = need_pks(connection, TaskRow.pk, TaskRow.task_id, (r.task_id for r in records), noun="task")
    studies = {record.study for record in records if record.study is not None}
    searches = need_pks(connection, SearchRow.pk, SearchRow.study, studies, noun="study")
    now = utc_now()
    rows: dict[str, dict[str, Any]] = {
        record.subnet_id: {
            "subnet_id": record.subnet_id,
            "arch_pk": archs[record.arch.arch_id],
            "base_pk": bases[record.base_id],
            "task_pk": tasks[record.task_id],
            "kept_blocks": _kept_blocks(record.arch),
            "derivation": record.derivation,
            "search_pk": None if record.study is None else searches[record.study],
            "trial_number": record.trial_number,
            "created_at": now,
        }
        for record in records
    }
    upsert(connection, SubnetRow, rows.values(), key=["subnet_id"])


def _founding(kind: str, split: str) -> int | None:
    """Rank what an accuracy was taken with and on, 0 for the best-founded; None where it never stands for a subnet."""
    if kind not in _KINDS or split not in _SPLITS:
        return None
    return _KINDS.index(kind) * len(_SPLITS) + _SPLITS.index(split)


def _refresh_top1(connection: Connection, written: Mapping[int, int]) -> None:
    """Repeat each subnet's best-founded accuracy in its row, where it changed.

    Args:
        connection: In whose transaction the scores were written.
        written: Subnets by the best rank among what was written of them; one whose accuracy is founded better is left.
    """
    best = (
        select(ScoreRow.pk)
        .where(ScoreRow.subnet_pk == SubnetRow.pk, ScoreRow.kind.in_(_KINDS), ScoreRow.split.in_(_SPLITS))
        .order_by(
            case({kind: rank for rank, kind in enumerate(_KINDS)}, value=ScoreRow.kind),
            case({split: rank for rank, split in enumerate(_SPLITS)}, value=ScoreRow.split),
            ScoreRow.created_at.desc(),
            ScoreRow.pk.desc(),
        )
        .limit(1)
        .correlate(SubnetRow)
        .scalar_subquery()
    )
    is_other = or_(SubnetRow.score_pk.is_distinct_from(ScoreRow.pk), SubnetRow.top1.is_distinct_from(ScoreRow.value))
    held = (
        select(SubnetRow.pk, ScoreRow.kind, ScoreRow.split)
        .outerjoin(ScoreRow, ScoreRow.pk == SubnetRow.score_pk)
        .order_by(SubnetRow.pk)
        .with_for_update(key_share=True, of=SubnetRow)
    )
    for every in chunks(sorted(written)):
        # On PostgreSQL: one order for all, or writers wait for each other for ever; and whoever scores the same
        # subnet is waited for, so that the best is the best of both. SQLite has one writer.
        found = connection.execute(held.where(SubnetRow.pk.in_(every))).all()
        ranks = {pk: None if kind is None else _founding(kind, split) for pk, kind, split in found}
        chunk = [pk for pk, rank in ranks.items() if rank is None or rank >= written[pk]]
        if not chunk:
            continue
        # Keys in between, or PostgreSQL would read all scores to join them.
        score_pks = (
            connection.execute(select(best).select_from(SubnetRow).where(SubnetRow.pk.in_(chunk))).scalars().all()
        )
        changed = update(SubnetRow).where(
            SubnetRow.pk.in_(chunk),
            SubnetRow.pk == ScoreRow.subnet_pk,
            ScoreRow.pk.in_([pk for pk in score_pks if pk is not None]),
            is_other,
        )
        connection.execute(changed.values(top1=ScoreRow.value, score_pk=ScoreRow.pk))


class SubnetMethods(Database):
    """The store's methods about subnets."""

    def record_subnets(self, records: Iterable[SubnetRecord]) -> None:
        """Store subnets with their archs in one transaction; those that are there already stay.

        Raises:
            NuwaError: If a base, task or study is not recorded.
        """
        with self.write() as connection:
            insert_subnets(connection, list(records))

    def bundle_dir_of(self, subnet_id: str) -> str | None:
        """Return where a subnet's bundle lies; None where it has none, or is not recorded."""
        with self.read() as connection:
            query = select(SubnetRow.bundle_dir).where(SubnetRow.subnet_id == subnet_id)
            return connection.execute(query).scalar()

    def has_subnet(self, subnet_id: str) -> bool:
        """Whether a subnet is recorded."""
        with self.read() as connection:
            return connection.execute(select(SubnetRow.pk).where(SubnetRow.subnet_id == subnet_id)).first() is not None

    def load_subnet(self, subnet_id: str) -> SubnetRecord:
        """Read a subnet, its arch with empty entries for the blocks of the base that are gone.

        Raises:
            NuwaError: If there is none with that id.
        """
        query = (
            select(
                ArchRow.content,
                SubnetRow.kept_blocks,
                BaseNetRow.base_id,
                TaskRow.task_id,
                SubnetRow.derivation,
                SearchRow.study,
                SubnetRow.trial_number,
            )
            .select_from(SubnetRow)
            .join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
            .join(BaseNetRow, BaseNetRow.pk == SubnetRow.base_pk)
            .join(TaskRow, TaskRow.pk == SubnetRow.task_pk)
            .outerjoin(SearchRow, SearchRow.pk == SubnetRow.search_pk)
            .where(SubnetRow.subnet_id == subnet_id)
        )
        with self.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NuwaError(f"the database knows no subnet {subnet_id!r}", hint="nuwa query")
        arch = _arch_with_gaps(arch_from_dict(row.content), row.kept_blocks)
        return SubnetRecord(
            subnet_id=subnet_id,
            arch=arch,
            base_id=row.base_id,
            task_id=row.task_id,
            derivation=row.derivation,
            study=row.study,
            trial_number=row.trial_number,
        )

    def set_bundle(self, subnet_id: str, bundle_dir: str) -> None:
        """Remember where a subnet's bundle lies.

        Raises:
            NuwaError: If the subnet is not recorded.
        """
        with self.write() as connection:
            need_pks(connection, SubnetRow.pk, SubnetRow.subnet_id, [subnet_id], noun="subnet")
            connection.execute(update(SubnetRow).where(SubnetRow.subnet_id == subnet_id).values(bundle_dir=bundle_dir))

    def record_scores(self, scores: Iterable[ScoreRecord]) -> None:
        """Store scores in one transaction; a score of the same kind, split, images and seed is replaced.

        Raises:
            NuwaError: If a subnet is not recorded.
        """
        batch = list(scores)
        now = utc_now()
        with self.write() as connection:
            subnets = need_pks(
                connection, SubnetRow.pk, SubnetRow.subnet_id, (score.subnet_id for score in batch), noun="subnet"
            )
            rows = {
                (score.subnet_id, score.kind, score.split, score.num_images, score.seed): {
                    "subnet_pk": subnets[score.subnet_id],
                    "kind": score.kind,
                    "split": score.split,
                    "num_images": score.num_images,
                    "seed": score.seed,
                    "value": score.value,
                    "created_at": now,
                }
                for score in batch
            }
            key = ["subnet_pk", "kind", "split", "num_images", "seed"]
            upsert(connection, ScoreRow, rows.values(), key=key, update=["value", "created_at"])
            written: dict[int, int] = {}
            for score in batch:
                rank = _founding(score.kind, score.split)
                if rank is not None:
                    pk = subnets[score.subnet_id]
                    written[pk] = min(rank, written.get(pk, rank))
            _refresh_top1(connection, written)
        mend_fronts(self)

    def retire_top1(self, subnet_id: str) -> None:
        """Keep accuracies of final weights that were replaced under another kind, ``top1_before_finetune``.

        Raises:
            NuwaError: If the subnet is not recorded.
        """
        with self.write() as connection:
            pk = need_pk(connection, SubnetRow.pk, SubnetRow.subnet_id, subnet_id, noun="subnet")
            connection.execute(update(SubnetRow).where(SubnetRow.pk == pk).values(top1=None, score_pk=None))
            connection.execute(delete(ScoreRow).where(ScoreRow.subnet_pk == pk, ScoreRow.kind == RETIRED_TOP1))
            current = update(ScoreRow).where(ScoreRow.subnet_pk == pk, ScoreRow.kind == "top1")
            connection.execute(current.values(kind=RETIRED_TOP1))
            _refresh_top1(connection, {pk: 0})
        mend_fronts(self)

    def scores(self, subnet_id: str) -> tuple[ScoreRecord, ...]:
        """Read all scores of a subnet, oldest first."""
        query = (
            select(ScoreRow.kind, ScoreRow.split, ScoreRow.num_images, ScoreRow.seed, ScoreRow.value)
            .join(SubnetRow, SubnetRow.pk == ScoreRow.subnet_pk)
            .where(SubnetRow.subnet_id == subnet_id)
            .order_by(ScoreRow.pk)
        )
        with self.read() as connection:
            return tuple(ScoreRecord(subnet_id, *row) for row in connection.execute(query))

    def subnet_ids_of_archs(
        self, arch_ids: Iterable[str], *, base_id: str | None, task_id: str | None
    ) -> dict[str, str]:
        """Map each ``arch_id`` to the subnet of a base and task that has it; of several the first that was stored.

        Shapes of subnets that kept other blocks are left out: the shape does not say which of them is meant.
        """
        query = (
            select(ArchRow.arch_id, SubnetRow.subnet_id, SubnetRow.kept_blocks)
            .select_from(SubnetRow)
            .join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
            .join(BaseNetRow, BaseNetRow.pk == SubnetRow.base_pk)
            .join(TaskRow, TaskRow.pk == SubnetRow.task_pk)
            .where(BaseNetRow.base_id == base_id, TaskRow.task_id == task_id)
            .order_by(SubnetRow.pk.desc())
        )
        found: dict[str, str] = {}
        places: dict[str, set[str]] = {}
        with self.read() as connection:
            for chunk in chunks(arch_ids):
                for row in connection.execute(query.where(ArchRow.arch_id.in_(chunk))):
                    found[row.arch_id] = row.subnet_id
                    places.setdefault(row.arch_id, set()).add(row.kept_blocks)
        return {arch_id: subnet_id for arch_id, subnet_id in found.items() if len(places[arch_id]) == 1}

    def subnet_ids_of_trials(self, study: str) -> dict[int, str]:
        """Map the number of each trial of a study to its subnet, where this study was the first to store it."""
        query = (
            select(SubnetRow.trial_number, SubnetRow.subnet_id)
            .join(SearchRow, SearchRow.pk == SubnetRow.search_pk)
            .where(SearchRow.study == study, SubnetRow.trial_number.is_not(None))
        )
        with self.read() as connection:
            return {int(row.trial_number or 0): row.subnet_id for row in connection.execute(query)}

    def record_predicted_latencies(self, predictions: Iterable[PredictedLatency]) -> None:
        """Store predicted latencies of subnets; the newest prediction of a subnet on a device stands.

        Raises:
            NuwaError: If a subnet, device or predictor is not recorded.
        """
        with self.write() as connection:
            upsert_predicted(connection, list(predictions))
        mend_fronts(self)
