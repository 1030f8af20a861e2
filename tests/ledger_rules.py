"""Tests that the ledger passes on any database. Each suite runs them with a database of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from mlops_assets.errors import LedgerError
from mlops_assets.ledger.database import SCHEMA, VERSION_TABLE
from mlops_assets.ledger.facts import ClockMoved
from mlops_assets.ledger.lease import LEASE_SECONDS, Lease, LeaseConflict, LeaseHolder
from mlops_assets.ledger.store import Ledger

HERE, THERE = LeaseHolder("one", "in /srv/here on alpha"), LeaseHolder("two", "in /srv/there on beta")
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
WRITER = """
import sys
import threading
from datetime import UTC, datetime, timedelta
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.facts import ClockMoved
url, first = sys.argv[1], int(sys.argv[2])
ledger, begun = Ledger(url), datetime(2026, 1, 1, tzinfo=UTC)
for number in range(first, first + 40):
    ledger.append("example", *(ClockMoved(at=begun + timedelta(hours=number, minutes=minute)) for minute in range(3)))
"""
OPEN = "import sys; from mlops_assets.ledger.store import Ledger; print(Ledger(sys.argv[1]).projects())"


def moved(hours: int) -> ClockMoved:
    return ClockMoved(at=BEGUN + timedelta(hours=hours))


def schema(url: str) -> dict[str, set[tuple[str, str, bool]]]:
    """Return the columns of each table: name, type, and whether it may be null."""
    found = sa.inspect(sa.create_engine(url, poolclass=sa.pool.NullPool))
    return {
        table: {(each["name"], str(each["type"]), bool(each["nullable"])) for each in found.get_columns(table)}
        for table in ("facts", "forwarded", "leases", VERSION_TABLE)
    }


def execute(url: str, *statements: str) -> None:
    with sa.create_engine(url, poolclass=sa.pool.NullPool).begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def silent(url: str, seconds: int) -> None:
    """Set the last renewal of the lease back, as if no holder had renewed it for this time."""
    execute(url, f"UPDATE leases SET renewed = renewed - {seconds}")


class LedgerRules:
    """Tests that take the fixture `url`, the address of an empty database."""

    def test_fact_is_written_once_and_read_in_order(self, url: str) -> None:
        ledger = Ledger(url)
        assert ledger.append("example", moved(2), moved(1)) == [True, True]
        assert ledger.append("example", moved(1), moved(3)) == [False, True]
        assert ledger.append("other", moved(1)) == [True]
        assert [fact.at for fact in Ledger(url).view("example").facts] == [moved(hours).at for hours in (2, 1, 3)]
        assert ledger.projects() == ["example", "other"]

    def test_facts_of_one_call_are_written_all_or_none(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger = Ledger(url)

        def rows(project: str, fact: ClockMoved, real: Any = ledger.append.__globals__["_row"]) -> dict[str, str]:
            if fact.at == moved(2).at:
                raise KeyboardInterrupt
            row: dict[str, str] = real(project, fact)
            return row

        monkeypatch.setitem(ledger.append.__globals__, "_row", rows)
        with pytest.raises(KeyboardInterrupt):
            ledger.append("example", moved(1), moved(2))
        assert ledger.view("example").facts == ()

    def test_concurrent_writers_of_a_new_ledger_write_each_fact_once(self, url: str) -> None:
        """The hours of the two writers overlap, and a concurrent reader gets every fact."""
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, str(first)]) for first in (0, 20)]
        followed: list[tuple[int, datetime]] = []

        def follow() -> None:
            found = Ledger(url).facts_after("example", followed[-1][0] if followed else 0, 7)
            followed.extend((number, fact.at) for number, fact in found)

        while any(each.poll() is None for each in writers):
            follow()
        assert [each.returncode for each in writers] == [0, 0]
        while Ledger(url).count_after("example", followed[-1][0] if followed else 0):
            follow()
        moments = {BEGUN + timedelta(hours=hours, minutes=minute) for hours in range(60) for minute in range(3)}
        assert sorted(moment for _, moment in followed) == sorted(moments)
        assert [fact.at for fact in Ledger(url).view("example").facts] == [moment for _, moment in followed]

    def test_reader_skips_no_fact_of_an_open_transaction(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rows get numbers before they are visible, so facts written meanwhile must not get lower numbers."""
        ledger, midway, go_on = Ledger(url), threading.Event(), threading.Event()

        def slowly(project: str, fact: ClockMoved, real: Any = ledger.append.__globals__["_row"]) -> dict[str, str]:
            if fact.at == moved(2).at:
                midway.set()
                assert go_on.wait(30)
            row: dict[str, str] = real(project, fact)
            return row

        monkeypatch.setitem(ledger.append.__globals__, "_row", slowly)
        slow, quick = (
            threading.Thread(target=ledger.append, args=("example", *facts))
            for facts in ([moved(1), moved(2)], [moved(3)])
        )
        slow.start()
        assert midway.wait(30)
        quick.start()
        quick.join(1)
        seen = ledger.facts_after("example", 0, 9)
        go_on.set()
        slow.join(30)
        quick.join(30)
        seen += ledger.facts_after("example", seen[-1][0] if seen else 0, 9)
        assert [fact.at for _, fact in seen] == [moved(hours).at for hours in (1, 2, 3)]

    def test_consumer_continues_after_its_position(self, url: str) -> None:
        ledger = Ledger(url)
        ledger.append("example", moved(1), moved(2), moved(3))
        assert ledger.position("forwarder", "example") == 0
        (first, _), (second, _) = ledger.facts_after("example", 0, 2)
        ledger.set_position("forwarder", "example", first)
        ledger.set_position("forwarder", "example", second)
        ledger.set_position("forwarder", "other", 0)
        assert Ledger(url).position("forwarder", "example") == second
        assert [fact.at for _, fact in ledger.facts_after("example", second, 9)] == [moved(3).at]
        assert ledger.count_after("example", second) == 1

    @pytest.mark.parametrize("tables", [("facts",), ("facts", "forwarded")])
    def test_ledger_without_schema_version_is_migrated_with_its_facts(self, url: str, tables: tuple[str, ...]) -> None:
        Ledger(url).append("example", moved(1), moved(2))
        wanted = schema(url)
        gone = {"forwarded", "leases"} - set(tables)
        execute(url, *(f"DROP TABLE {table}" for table in [VERSION_TABLE, *gone]))
        ledger = Ledger(url)
        assert schema(url) == wanted
        ledger.append("example", moved(3))
        ledger.set_position("forwarder", "example", 1)
        assert [fact.at for fact in ledger.view("example").facts] == [moved(hours).at for hours in (1, 2, 3)]

    def test_ledger_of_a_newer_platform_is_refused_and_unchanged(self, url: str) -> None:
        Ledger(url)
        execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        with pytest.raises(LedgerError, match=rf"version 9999.*up to {SCHEMA}.*wrote it"):
            Ledger(url)
        execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '{SCHEMA}'")
        assert Ledger(url).projects() == []

    def test_interrupted_migration_is_rolled_back_and_repeated(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from alembic import command

        upgrade = command.upgrade

        def killed(*arguments: object) -> None:
            upgrade(*arguments)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        with monkeypatch.context() as broken:
            broken.setattr(command, "upgrade", killed)
            with pytest.raises(KeyboardInterrupt):
                Ledger(url)
        assert sa.inspect(sa.create_engine(url)).get_table_names() == []
        assert Ledger(url).append("example", moved(1)) == [True]

    def test_two_concurrent_openings_migrate_once(self, url: str) -> None:
        opening = [
            subprocess.Popen([sys.executable, "-c", OPEN, url], stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        assert [each.communicate()[0] for each in opening] == ["[]\n"] * 3
        with sa.create_engine(url).connect() as connection:
            assert list(connection.scalars(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))) == [SCHEMA]

    def test_one_of_many_concurrent_takers_gets_the_lease(self, url: str) -> None:
        database = Ledger(url).database
        conflicts: list[LeaseConflict | None] = []

        def take(number: int) -> None:
            together.wait()
            conflicts.append(Lease(database, "example").take(LeaseHolder(str(number), f"at {number}")))

        together = threading.Barrier(6)
        takers = [threading.Thread(target=take, args=(number,)) for number in range(6)]
        for each in takers:
            each.start()
        for each in takers:
            each.join(60)
        refused = [conflict for conflict in conflicts if conflict is not None]
        assert (len(conflicts), len(refused)) == (6, 5)
        assert len({conflict.place for conflict in refused}) == 1

    def test_lease_belongs_to_its_holder_while_it_is_renewed(self, url: str) -> None:
        lease = Lease(Ledger(url).database, "example")
        assert lease.conflict(THERE) is None
        assert lease.take(HERE) is None
        silent(url, LEASE_SECONDS - 30)
        found = lease.take(THERE)
        assert found is not None
        assert LEASE_SECONDS - 30 <= found.seconds <= LEASE_SECONDS
        assert "in /srv/here on alpha" in str(found)
        assert lease.conflict(HERE) is None
        assert lease.take(HERE) is None
        silent(url, LEASE_SECONDS - 30)
        assert lease.conflict(THERE) is not None
        assert Lease(Ledger(url).database, "other").take(THERE) is None

    def test_expired_lease_is_taken_over_and_former_holder_gets_a_conflict(self, url: str) -> None:
        lease = Lease(Ledger(url).database, "example")
        assert lease.take(HERE) is None
        silent(url, LEASE_SECONDS + 1)
        assert lease.take(THERE) is None
        found = lease.take(HERE)
        assert found is not None
        assert "beta" in str(found)

    def test_renewal_from_before_the_clock_was_set_back_does_not_count(self, url: str) -> None:
        lease = Lease(Ledger(url).database, "example")
        assert lease.take(HERE) is None
        silent(url, -86_400)
        assert lease.take(HERE) is None
        assert lease.conflict(THERE) is not None
        silent(url, -86_400)
        assert lease.take(THERE) is None
        assert lease.conflict(HERE) is not None
