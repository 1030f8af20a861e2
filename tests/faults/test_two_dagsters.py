"""Two Dagster instances on one state folder: only one of them runs the loop."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import simulated_projects
from harness import SENSORS, Harness
from ledger_rules import silent

from mlops_assets.ledger.lease import LEASE_SECONDS
from mlops_assets.loop.replay import DagsterLoop, ReplayStopped, advance


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Harness, Harness]]:
    """Two instances; the first has ticked before the second."""
    spec, home = simulated_projects.simulated_project("twofold"), tmp_path / "state"
    home.mkdir()
    with Harness.on(spec, home) as first, Harness.on(spec, home) as second:
        assert isinstance(first.tick("live_data"), dg.RunRequest)
        yield first, second


def test_sensors_of_a_second_dagster_launch_nothing_and_name_the_first(two: tuple[Harness, Harness]) -> None:
    for sensor in SENSORS:
        found = two[1].tick(sensor)
        assert isinstance(found, dg.SkipReason)
        assert f"another Dagster (started in {Path.cwd()}" in str(found.skip_message)
        assert f"DAGSTER_HOME {two[0].instance.root_directory})" in str(found.skip_message)
    assert isinstance(two[0].tick("live_data"), dg.RunRequest)


def test_replay_by_a_second_dagster_stops_before_it_moves_the_clock(
    two: tuple[Harness, Harness],
) -> None:
    first, second = two
    before = first.context.now()
    for outstanding_work in (True, False):
        with pytest.raises(ReplayStopped, match=r"twofold.*another Dagster \(.*Stop one of the two"):
            list(advance(second.context, DagsterLoop(second.instance, second.context), windows=1))
        assert first.context.now() == before
        if outstanding_work:
            first.run_until_idle()
            first.tick("live_data")


def test_second_dagster_takes_over_after_the_lease_expired(two: tuple[Harness, Harness]) -> None:
    silent(two[0].context.settings.ledger, LEASE_SECONDS + 1)
    assert isinstance(two[1].tick("live_data"), dg.RunRequest)
    found = two[0].tick("live_data")
    assert isinstance(found, dg.SkipReason)
    assert "another Dagster" in str(found.skip_message)
