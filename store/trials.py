"""What a study proposed, read from Optuna's tables in the same database.

Optuna owns these tables; they are read here and never written. Reading them needs neither Optuna nor torch in the
process that serves the page. ``nuwa_search.search.study`` writes each trial's report under the name ``REPORT_ATTR``.
"""

import json
from typing import Any

from sqlalchemy import Connection, text

from nuwa_search.store.database import Database
from nuwa_search.store.records import JsonDict

REPORT_ATTR = "nuwa.report"  # nuwa_search.search.study.REPORT_ATTR, which loads Optuna; a test compares them


def _prefix(connection: Connection) -> str | None:
    """Say where Optuna's tables are: a schema with its dot, nothing on SQLite, None if they are not made yet."""
    if connection.dialect.name == "sqlite":
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'trial_user_attributes'"
        return None if connection.execute(text(query)).scalar() is None else ""
    query = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'trial_user_attributes'"
    schema = connection.execute(text(query)).scalar()
    return None if schema is None else f'"{schema}".'


class TrialMethods(Database):
    """The store's methods about proposals."""

    def trials(self, study: str) -> list[JsonDict]:
        """Read all proposals of a study, oldest first, each as ``nuwa_search.search.trials.TrialReport`` in JSON.

        Args:
            study: Its name; one that Optuna does not know has no trials.

        Returns:
            ``number``, ``arch_id``, ``state``, ``origin``, ``predicted_latency_ms``,
            ``predicted_interval_ms``, ``kl``, ``kl_first``, ``top1_search``, ``num_images``, ``seconds``
            and ``reason`` of each.
        """
        with self.read() as connection:
            where = _prefix(connection)
            if where is None:
                return []
            # ``where`` is empty or a schema's name from the catalogue
            query = f"""
                SELECT t.number, r.value_json AS report, a.value_json AS arch_id
                FROM {where}studies s
                JOIN {where}trials t ON t.study_id = s.study_id
                JOIN {where}trial_user_attributes r ON r.trial_id = t.trial_id AND r.key = :report
                LEFT JOIN {where}trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'arch_id'
                WHERE s.study_name = :study
                ORDER BY t.number
            """  # noqa: S608
            rows = connection.execute(text(query), {"study": study, "report": REPORT_ATTR}).all()
        return [_trial(row.number, row.report, row.arch_id) for row in rows]


def _trial(number: int, report: str, arch_id: str | None) -> JsonDict:
    values: dict[str, Any] = json.loads(report)
    return {"number": number, "arch_id": None if arch_id is None else json.loads(arch_id), **values}
