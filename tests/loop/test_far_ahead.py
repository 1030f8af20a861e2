"""A horizon longer than a window: no event of the first window is due after the promotion."""

from collections.abc import Iterator

import pytest
import simulated_projects
from project_replays import ProjectReplay, bootstrapped_replay

pytestmark = [pytest.mark.xdist_group("far_ahead"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectReplay]:
    spec = simulated_projects.simulated_project(
        "ahead",
        problem={"baseline": {"type": "seasonal_naive", "season": "48h"}},
        data={"horizon": "30h"},
        # not at the ends of windows, and less often than these
        serving={"every": "29h"},
        features={"history": {"columns": ["y"], "length": "48h"}},
        retraining=simulated_projects.quiet(cooldown="5d"),
    )
    with bootstrapped_replay(spec, tmp_path_factory.mktemp("ahead")) as play:
        play.advance(windows=3)
        yield play


def test_reports_and_decisions_begin_with_the_first_window(ahead: ProjectReplay) -> None:
    assert [ahead.decision(number).outcome for number in range(3)] == ["WAIT"] * 3
    assert ahead.drift(0).verdict == "too young"
    assert [ahead.performance(number).rows for number in range(3)] == [0, 18, 24]


def test_all_events_due_since_the_promotion_and_no_others_are_predicted(ahead: ProjectReplay) -> None:
    context, answered = ahead.context, []
    for window in ahead.windows(0, 3):
        found = context.telemetry.predictions("ahead", window.start, window.end, roles=("champion",))
        answered.append(len(found))
    assert answered == [0, 18, 24]
    assert not ahead.view.missed
    assert [ahead.health(number).availability for number in range(3)] == [None, 1.0, 1.0]
