"""No look-ahead: rows of the source from day D on change no record up to day D."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import canonical_records
import pytest
import simulated_projects
from harness import Harness
from project_replays import ProjectReplay, bootstrapped_replay

from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

WEEK_OF_D = {"bike_demand": 2, "electricity": 3}
"""Day D is in the middle of this week, and one more day is played. After two weeks the age policy decides RETRAIN."""
HISTORY = timedelta(weeks=6)
"""Rows before the start of the clock. The projects' own three months would make trainings slower."""


@dataclass(frozen=True)
class Pair:
    """The same replay twice: of the source as it is, and of a source that is noise from day D on."""

    project: str
    sound: canonical_records.Records
    noisy: canonical_records.Records
    """Return the records of both up to D."""
    whole: tuple[canonical_records.Records, canonical_records.Records]


def days(project: str) -> timedelta:
    """Return the time from the start of the clock to day D."""
    return timedelta(days=7 * WEEK_OF_D[project] - 4)


def shortened(project: str, noise: bool) -> ProjectSpec:
    raw = simulated_projects.shipped(project)
    raw["data"]["start"] = raw["clock"]["start"] - HISTORY
    if noise:
        after = raw["clock"]["start"] + days(project)
        raw["data"]["source"] = "simulated_projects.noisy"
        raw["data"]["options"] = {"project": project, "after": after.isoformat()}
    return ProjectSpec.model_validate(raw)


def pair(project: str, home: Path) -> Pair:
    found = []
    for noise in (False, True):
        spec = shortened(project, noise)
        with bootstrapped_replay(spec, home / str(noise), force="true") as play:
            timeline = play.context.timeline
            assert timeline.clock_start is not None
            day = timeline.utc(timeline.local(timeline.clock_start) + days(project))
            play.advance(until=day + timedelta(days=1))
            found.append(
                (canonical_records.canonical(play.context, until=day), canonical_records.canonical(play.context))
            )
    (sound, all_sound), (noisy, all_noisy) = found
    return Pair(project, sound, noisy, (all_sound, all_noisy))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("bike_demand", marks=pytest.mark.xdist_group("look_ahead_bike_demand")),
        pytest.param("electricity", marks=pytest.mark.xdist_group("look_ahead_electricity")),
    ],
)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(request.param, tmp_path_factory.mktemp(request.param))


def test_later_noise_changes_no_earlier_record(played: Pair) -> None:
    assert canonical_records.differences(played.sound, played.noisy) == []
    assert canonical_records.text(played.sound) == canonical_records.text(played.noisy)


def test_compared_records_include_predictions_reports_and_decisions(played: Pair) -> None:
    found, retrained = played.sound, WEEK_OF_D[played.project] > 2
    assert len(found["predictions"]) >= days(played.project) / simulated_projects.HOUR
    assert {fact["report"] for fact in found["reports"]} == {"drift", "performance", "health"}
    outcomes = {fact["decision"]["outcome"] for fact in found["decisions"]}
    assert outcomes == {"WAIT", *(["RETRAIN"] if retrained else [])}
    assert [verdict["by"] for verdict in found["verdicts"]] == ["bootstrap", *(["policy"] if retrained else [])]
    assert len(found["datasets"]) == 1 + retrained
    # of predictions due by then for later events, only what depends on past values is compared
    whole = [answer for answer in found["predictions"] if answer["prediction"] is not None]
    assert len(found["predictions"]) - len(whole) < 2 * 24 + 2
    assert all(answer["features"] and answer["inputs"] for answer in whole)


def test_noise_changes_later_records(played: Pair) -> None:
    sound, noisy = played.whole
    assert canonical_records.differences(sound, noisy) != []
    assert len(sound["predictions"]) == len(noisy["predictions"]) > len(played.sound["predictions"])


# A planted look-ahead


NOISE = simulated_projects.at(0.5)


def peeking(noise: bool) -> ProjectSpec:
    options = {"noise_from": NOISE.isoformat()} if noise else {}
    edges = {"x": {"dtype": "float"}, "swing": {"dtype": "float"}, "y": {"dtype": "float"}}
    return simulated_projects.simulated_project(
        "seeded", options, data={"columns": edges}, retraining=simulated_projects.quiet()
    )


def scored(trained: Path, home: Path) -> list[str]:
    """Return the differences of the first half day's predictions if the source is noise after it."""
    found = []
    for noise in (False, True):
        copy = home / str(noise)
        shutil.copytree(trained, copy)
        with ExitStack() as stack:
            play = ProjectReplay(stack.enter_context(Harness.on(peeking(noise), copy)))
            play.run("heal")
            play.context.clock.move(simulated_projects.at(1))
            play.run("score")
            found.append(canonical_records.canonical(play.context, until=NOISE))
    assert len(found[0]["predictions"]) == 13
    return canonical_records.differences(*found)


@pytest.mark.xdist_group("seeded")
@pytest.mark.parametrize("steps", [1, 2])
def test_planted_look_ahead_is_detected(
    steps: int, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Timeline.delay_of
    monkeypatch.setattr(Timeline, "delay_of", lambda self, column: real(self, column) - steps * self.every)
    found = scored(trained, tmp_path)
    # predictions due within `steps` hours before the noise used hours that had not ended
    assert [line.split(":")[0] for line in found] == [f"predictions {number}" for number in range(13 - steps, 13)]


@pytest.mark.xdist_group("seeded")
def test_comparison_finds_nothing_without_a_look_ahead(trained: Path, tmp_path: Path) -> None:
    assert scored(trained, tmp_path) == []
