"""Structured logs of long-running commands: one JSON object per line on stderr."""

import json
import logging
import sys
from datetime import UTC, datetime

PROGRAM = "nuwa_search"
"""Above every logger of ours: modules name theirs for themselves."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Renders a record as one line of JSON; what was logged as ``extra`` becomes a field of its own."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False, default=str)


def log_to_stderr(*, is_verbose: bool = True) -> None:
    """Send this program's logs to stderr as JSON lines.

    Args:
        is_verbose: Whether what goes well is logged too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(PROGRAM).setLevel(logging.INFO if is_verbose else logging.WARNING)
