"""SQLite and PostgreSQL keep the contract of every search database."""

from nuwa_search.testing.store import StoreContract


class TestStore(StoreContract):
    """The fixture ``store`` gives one of each."""
