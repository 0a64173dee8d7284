"""The search database: everything a search learned, kept in SQLite or PostgreSQL.

``nuwa.store.store.open_store`` opens it, ``nuwa.store.records`` holds the values it takes and
returns, ``nuwa.store.query`` and ``nuwa.store.sql`` answer questions, ``nuwa.store.frames`` answers
them as pandas tables. No module outside this package imports SQLAlchemy or Alembic, and opening a
database whose schema is up to date imports neither Alembic nor pandas.
"""
