"""How much a user's query may take, the same on both databases."""

from nuwa_search.core.errors import NuwaError

VIEWS_HINT = "write one SELECT over the views in docs/database.md"
# The longest value (SQLite) or row (PostgreSQL) a query may build; the longest that is stored (an arch, a
# certificate, an answer) is far shorter.
MAX_VALUE_BYTES = 10_000_000
# What one answer may hold: a hundred thousand rows of every view stay below.
MAX_ANSWER_BYTES = 200_000_000


def stopped(timeout_s: float) -> NuwaError:
    """Build the error for a query that took too long."""
    return NuwaError(f"the query was stopped after {timeout_s:g} s", hint="narrow it with WHERE or LIMIT")


def too_large() -> NuwaError:
    """Build the error for a query whose answer or working memory is too large."""
    return NuwaError(
        f"the query was stopped: a value above {MAX_VALUE_BYTES // 10**6} MB, an answer above "
        f"{MAX_ANSWER_BYTES // 10**6} MB, or too much memory",
        hint="name fewer columns, or narrow it with WHERE or LIMIT",
    )
