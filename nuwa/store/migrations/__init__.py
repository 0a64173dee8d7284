"""Alembic migrations of the search database; ``nuwa.store.schema`` runs them."""
