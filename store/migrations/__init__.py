"""Alembic migrations of the search database; ``nuwa_search.store.schema`` runs them."""
