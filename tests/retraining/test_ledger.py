from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from ledger_rules import LedgerRules

from mlops_assets.errors import LedgerError
from mlops_assets.retraining.database import SCHEMA
from mlops_assets.retraining.ledger import Ledger


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"


class TestOnSqlite(LedgerRules):
    """The embedded default."""


def test_the_newest_migration_is_the_schema_that_the_platform_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", "mlops_assets.retraining:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA


def test_a_file_that_cannot_be_opened_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(LedgerError, match=r"ledger\.db.*MLOPS_ASSETS_HOME"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
