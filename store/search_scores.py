"""What a subnet scored on the search split before any fine-tuning: what deriving it again must give."""

from dataclasses import dataclass

from sqlalchemy import select

from nuwa_search.store.database import Database
from nuwa_search.store.tables import ScoreRow, SubnetRow


@dataclass(frozen=True)
class SearchScore:
    """The newest score of a derived subnet on the search split.

    Args:
        kl_to_teacher: Mean KL from the teacher in nats.
        top1: Of the same images; None where it was not stored.
        num_images: Images that the KL was taken on.
        num_images_top1: Images that ``top1`` was taken on; versions before 0.2 took it on all where `nuwa derive` made
            the subnet.
        seed: Of the choice of images.
    """

    kl_to_teacher: float
    top1: float | None
    num_images: int
    num_images_top1: int | None
    seed: int


def find_search_score(database: Database, subnet_id: str) -> SearchScore | None:
    """Read the newest score of a subnet as it was derived; None where it has none."""
    query = (
        select(ScoreRow.kind, ScoreRow.num_images, ScoreRow.seed, ScoreRow.value)
        .join(SubnetRow, SubnetRow.pk == ScoreRow.subnet_pk)
        .where(SubnetRow.subnet_id == subnet_id, ScoreRow.split == "search")
        .where(ScoreRow.kind.in_(("kl_to_teacher", "top1_derived")))
        .order_by(ScoreRow.created_at.desc(), ScoreRow.pk.desc())
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    kl = next((row for row in rows if row.kind == "kl_to_teacher"), None)
    if kl is None:
        return None
    top1 = next((row for row in rows if row.kind == "top1_derived" and row.seed == kl.seed), None)
    return SearchScore(
        kl_to_teacher=kl.value,
        top1=None if top1 is None else top1.value,
        num_images=kl.num_images,
        num_images_top1=None if top1 is None else top1.num_images,
        seed=kl.seed,
    )
