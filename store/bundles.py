"""Bundles in the database: which subnets have one, and where it lies."""

from dataclasses import dataclass

from sqlalchemy import exists, select

from nuwa_search.core.proportion import interval_of_share
from nuwa_search.store.database import Database
from nuwa_search.store.found_rows import BundleFound
from nuwa_search.store.query import pixel_score
from nuwa_search.store.tables import ArchRow, BaseNetRow, FinetuningRow, ScoreRow, SearchRow, SubnetRow, TaskRow


@dataclass(frozen=True)
class Bundles:
    """Subnets that were written as bundles: ``store.bundles``.

    Args:
        database: The store.
    """

    database: Database

    def find(self, *, limit: int | None = None, offset: int = 0) -> list[BundleFound]:
        """List the subnets that have a bundle, those that were stored last first; its folder may be gone by now.

        Args:
            limit: At most so many; None for all.
            offset: Leave out so many of the first.
        """
        query = (
            select(
                *(SubnetRow.subnet_id, SubnetRow.bundle_dir, ArchRow.arch_id, ArchRow.params),
                *(BaseNetRow.name.label("base"), TaskRow.classes, TaskRow.task_id, SearchRow.study),
                *(SubnetRow.top1, ScoreRow.split, ScoreRow.num_images, pixel_score()),
                exists(FinetuningRow.pk).where(FinetuningRow.subnet_pk == SubnetRow.pk).label("has_finetuning"),
            )
            .select_from(SubnetRow)
            .join(ArchRow, ArchRow.pk == SubnetRow.arch_pk)
            .join(BaseNetRow, BaseNetRow.pk == SubnetRow.base_pk)
            .join(TaskRow, TaskRow.pk == SubnetRow.task_pk)
            .outerjoin(SearchRow, SearchRow.pk == SubnetRow.search_pk)
            .outerjoin(ScoreRow, ScoreRow.pk == SubnetRow.score_pk)
            .where(SubnetRow.bundle_dir.is_not(None))
            .order_by(SubnetRow.pk.desc())
            .limit(limit)
            .offset(offset)
        )
        with self.database.read() as connection:
            return [
                BundleFound(
                    subnet_id=row.subnet_id,
                    bundle_dir=row.bundle_dir,
                    arch_id=row.arch_id,
                    params=row.params,
                    base=row.base,
                    classes=list(row.classes),
                    task_id=row.task_id,
                    study=row.study,
                    top1=row.top1,
                    top1_interval=interval_of_share(row.top1, row.num_images),
                    split=row.split,
                    num_images=row.num_images,
                    miou=row.miou,
                    has_finetuning=bool(row.has_finetuning),
                )
                for row in connection.execute(query)
            ]
