"""The search database: everything a search learned, kept in SQLite or PostgreSQL.

``store.open_store`` opens it, ``records`` holds the values it takes and returns, ``query`` and ``sql``
answer questions, ``frames`` answers them as pandas tables. No module outside this package imports
SQLAlchemy or Alembic, and opening a database whose schema is up to date imports neither Alembic nor pandas.
"""
