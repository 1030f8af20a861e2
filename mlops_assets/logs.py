"""Log records as JSON objects, one a line: what every service of ours writes to its output."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


def log_json(project: str, level: int = logging.INFO) -> None:
    """Write all log records of this process to its standard output, as `JSONLines`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines(project))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class JSONLines(logging.Formatter):
    """Log records as JSON objects, one a line.

    Args:
        project: named in each.
    """

    EXTRA = ("model_version", "event_id", "request_id", "status")

    def __init__(self, project: str) -> None:
        super().__init__()
        self.project = project

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "project": self.project,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in self.EXTRA if hasattr(record, name)},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
