"""Add boards: who measures on which, which of them are one pool, and why one is out.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0007"
down_revision = "0006"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
VIEWS = {
    "v_boards": """
        SELECT b.name AS board, b.pool, b.ratio, b.ratio_low, b.ratio_high, b.compared_at, b.out_reason, b.out_at,
               b.examined_at, b.num_leases, b.leased_at, b.owner_host AS leased_host, b.owner_pid AS leased_pid,
               b.heartbeat_at
        FROM nuwa_boards b
    """,
}


def upgrade() -> None:
    op.create_table(
        "nuwa_boards",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("ratio", sa.Double(), nullable=True),
        sa.Column("ratio_low", sa.Double(), nullable=True),
        sa.Column("ratio_high", sa.Double(), nullable=True),
        sa.Column("compared_at", MOMENT, nullable=True),
        sa.Column("out_reason", sa.Text(), nullable=True),
        sa.Column("out_at", MOMENT, nullable=True),
        sa.Column("examined_at", MOMENT, nullable=True),
        sa.Column("num_leases", sa.Integer(), nullable=False),
        sa.Column("leased_at", MOMENT, nullable=True),
        sa.Column("party", sa.String(length=32), nullable=True),
        sa.Column("owner_host", sa.String(), nullable=True),
        sa.Column("owner_pid", sa.Integer(), nullable=True),
        sa.Column("owner_token", sa.String(length=32), nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_boards"),
        sa.UniqueConstraint("name", name="uq_nuwa_boards_name"),
    )
    op.create_index("ix_nuwa_boards_pool", "nuwa_boards", ["pool"], unique=False)
    op.create_index("ix_nuwa_boards_party", "nuwa_boards", ["party"], unique=False)
    op.create_table(
        "nuwa_board_waits",
        sa.Column("pk", BIG, nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("party", sa.String(length=32), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("pk", name="pk_nuwa_board_waits"),
        sa.UniqueConstraint("pool", "party", name="uq_nuwa_board_waits_pool_party"),
    )
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
