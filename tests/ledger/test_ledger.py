from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from ledger_rules import LedgerRules

from mlops_assets.errors import LedgerError
from mlops_assets.ledger.database import SCHEMA
from mlops_assets.ledger.facts import WindowLabelled, WindowPublished
from mlops_assets.ledger.store import Ledger

AT = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"


class TestOnSqlite(LedgerRules):
    """The rules for a ledger on SQLite, the default."""


def test_newest_migration_is_the_required_schema() -> None:
    config = Config()
    config.set_main_option("script_location", "mlops_assets.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA


def test_unreadable_ledger_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerError, match=r"ledger\.db.*MLOPS_ASSETS_HOME"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.mark.parametrize("kind", [WindowPublished, WindowLabelled])
def test_rows_that_change_back_are_recorded_as_a_new_edition(url: str, kind: Any) -> None:
    ledger, window = Ledger(url), "2020-01-01T00:00:00Z"

    def record(version: str) -> bool:
        edition = ledger.view("example").edition(kind, window, version)
        (new,) = ledger.append("example", kind(at=AT, window=window, data_version=version, rows=24, edition=edition))
        return bool(new)

    assert [record(version) for version in ("a", "a", "b", "b", "a", "a", "b")] == [
        True, False, True, False, True, False, True,
    ]  # fmt: skip
    view = ledger.view("example")
    newest = view.published if kind is WindowPublished else view.labelled
    assert newest[window].data_version == "b"
