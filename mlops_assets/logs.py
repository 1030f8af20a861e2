"""Structured log lines of the services, in one format."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JSONLines(logging.Formatter):
    """Formats log records as JSON objects, one per line.

    Args:
        project: value of the field `project` in records that have none.
    """

    EXTRA = ("project", "model_version", "event_id", "run_id", "request_id", "status", "source", "backlog")

    def __init__(self, project: str = "-") -> None:
        super().__init__()
        self.project = project

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
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


def log_to_stdout(project: str = "-", level: int = logging.INFO) -> None:
    """Write the records of all loggers of this process as JSON lines to standard output, from a level on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines(project))
    logging.basicConfig(level=level, handlers=[handler], force=True)
