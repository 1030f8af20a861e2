"""Structured log lines, the same in every service."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JSONLines(logging.Formatter):
    """Log records as JSON objects, one a line.

    Args:
        project: named in each line whose record names none itself.
    """

    EXTRA = ("project", "model_version", "event_id", "run_id", "request_id", "status", "source", "backlog")

    def __init__(self, project: str = "-") -> None:
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


def log_to_stdout(project: str = "-", level: int = logging.INFO) -> None:
    """Let all loggers of this process write JSON lines, from a level on, to its standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines(project))
    logging.basicConfig(level=level, handlers=[handler], force=True)
