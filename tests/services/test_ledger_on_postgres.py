from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_rules import LedgerRules, moved
from servers import Postgres, free_port

from mlops_assets.errors import LedgerError, LedgerUnreachable
from mlops_assets.ledger.database import RETRY_SECONDS, Database
from mlops_assets.ledger.store import Ledger

NUMBER = itertools.count()


@pytest.fixture
def url(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    return postgres.create(f"ledger_{next(NUMBER)}")


class TestPostgresql(LedgerRules):
    """The rules for a ledger on PostgreSQL."""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    """A PostgreSQL that the test may stop."""
    monkeypatch.setenv("PGPASSWORD", Postgres.password)
    with Postgres(tmp_path / "postgres") as server:
        yield server


def test_restart_of_postgresql_is_waited_for(own: Postgres) -> None:
    ledger = Ledger(own.url)
    own.stop()
    restarting = threading.Timer(2.0, own.start)
    restarting.start()
    begun = time.monotonic()
    assert ledger.append("example", moved(1)) == [True]
    assert time.monotonic() - begun > 1.5
    restarting.join()
    assert len(ledger.view("example").facts) == 1


def test_server_that_ends_within_a_transaction_is_unreachable(own: Postgres) -> None:
    database = Database(own.url)
    with pytest.raises(LedgerUnreachable), database.connect() as connection:
        connection.execute(sa.text("select 1"))
        own.restart()
    assert Ledger(own.url).append("example", moved(1)) == [True]


def test_absent_server_is_reported_with_setting_and_without_password(own: Postgres) -> None:
    ledger = Ledger(own.url)
    own.stop()
    begun = time.monotonic()
    with pytest.raises(LedgerUnreachable, match=r"127\.0\.0\.1.*MLOPS_ASSETS_DATABASE_URL") as caught:
        ledger.append("example", moved(1))
    assert RETRY_SECONDS - 2.5 < time.monotonic() - begun < RETRY_SECONDS + 10
    assert Postgres.password not in str(caught.value)
    own.start()
    assert ledger.append("example", moved(1)) == [True]


@pytest.mark.parametrize(
    ("password", "address"),
    [("wrong", "{url}"), (Postgres.password, "{other}"), (None, "{url}")],
    ids=["wrong password", "no such database", "no password"],
)
def test_permanent_refusal_raises_without_a_retry(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, password: str | None, address: str
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("PGPASSWORD", password)
    begun = time.monotonic()
    with pytest.raises(LedgerError, match=r"refused.*PGPASSWORD") as caught:
        Ledger(address.format(url=postgres.url, other=postgres.url_of("no_such")))
    assert not isinstance(caught.value, LedgerUnreachable)
    assert time.monotonic() - begun < 2
    assert Postgres.password not in str(caught.value)


def test_address_without_a_server_is_unreachable() -> None:
    with pytest.raises(LedgerUnreachable, match="does not answer"):
        Ledger(f"postgresql://mlops@127.0.0.1:{free_port()}/mlops")
