"""Run migrations inside the transaction that the store has opened."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="nuwa_alembic_version",
    on_version_apply=context.config.attributes["on_version"],
)
with context.begin_transaction():
    context.run_migrations()
