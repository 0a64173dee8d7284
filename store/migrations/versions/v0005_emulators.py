"""Name emulated devices of the first emulator as such, so that no figure of theirs stands beside a later one's.

Their ids and specs stay as they are: they name no version of the emulator, which was not part of a device then.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from nuwa_search.core.errors import NuwaError

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # Whatever is there was emulated by the first version.
    op.execute("UPDATE nuwa_devices SET name = name || '@emulator-1', is_listed = FALSE WHERE kind = 'emulated'")


def downgrade() -> None:
    raise NuwaError(
        "a search database cannot be taken back to an earlier version",
        hint="use the copy that was made before the upgrade, or install the version that wrote it",
    )
