"""Windows that are materialized again, too early, or without their input."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args

import pytest
from example_project import START, States, by_hand, failures, running_harness, succeeded
from harness import Harness

from mlops_assets.context import Table
from mlops_assets.jobs import OBSERVING
from mlops_assets.ledger.store import Ledger


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A project with an empty state folder."""
    with running_harness(tmp_path_factory.mktemp("empty")) as harness:
        yield harness


@pytest.fixture(scope="module")
def played(states: States, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A project six days after its first promotion."""
    with running_harness(states.copy("retrain_decided", tmp_path_factory.mktemp("played") / "home")) as harness:
        yield harness


def window_of(harness: Harness, day: int) -> str:
    return harness.context.key(harness.context.timeline.window_at(START + timedelta(days=day)))


FIRST = {
    "feature_definitions": "materialize dataset first",
    "training_set": "materialize feature_definitions first",
    "candidate_model": "materialize training_set first",
    "evaluation": "materialize candidate_model first",
    "champion": "materialize evaluation first",
    "endpoint": "run the job example_bootstrap",
    "dataset": "materialize raw_data and labels of these windows",
}


@pytest.mark.parametrize("asset", list(FIRST))
def test_asset_without_its_input_names_the_asset_to_materialize_first(asset: str, empty: Harness) -> None:
    found = by_hand(empty, asset)

    assert not found.success
    kind = "WorkOutstanding" if asset == "dataset" else "NotReady"
    assert f"{kind}: [example] " in failures(found) and FIRST[asset] in failures(found)
    assert empty.context.ledger_view().facts == ()


@pytest.mark.parametrize("asset", [name for name in OBSERVING if name != "raw_data"])
def test_window_without_its_input_names_the_asset_to_materialize_first(asset: str, empty: Harness) -> None:
    found = by_hand(empty, asset, partition_key=window_of(empty, 3))

    assert not found.success
    words = "materialize raw_data of this window first" if asset == "labels" else "run the job example_bootstrap"
    assert "NotReady: [example] " in failures(found) and words in failures(found)


@pytest.mark.parametrize("asset", OBSERVING)
def test_window_of_the_future_is_refused_with_the_reason(asset: str, played: Harness) -> None:
    before = len(played.context.ledger_view().facts)
    found = by_hand(played, asset, partition_key=window_of(played, 40))

    assert not found.success
    assert "Refused: [example] window" in failures(found)
    assert len(played.context.ledger_view().facts) == before


def test_window_made_again_has_the_same_rows_summaries_and_decision(
    played: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempted: list[Any] = []
    append = Ledger.append

    def watched(self: Ledger, project: str, *facts: Any) -> list[bool]:
        attempted.extend(facts)
        return append(self, project, *facts)

    before = played.context.ledger_view().facts
    versions = {
        table: played.context.lake.version(
            "example", table, played.context.timeline.window_at(START + timedelta(days=22)).id
        )
        for table in get_args(Table)
    }
    monkeypatch.setattr(Ledger, "append", watched)
    succeeded(by_hand(played, *OBSERVING, partition_key=window_of(played, 22)))

    assert played.context.ledger_view().facts == before
    for fact in attempted:
        # Evidence that began earlier is found again; everything else is the same.
        (known,) = [old for old in before if old.kind == fact.kind and old.key == fact.key]
        assert fact.model_dump(exclude={"at"}) == known.model_dump(exclude={"at"})
    assert {fact.kind for fact in attempted} == {"published", "labelled", "report"}
    for table, version in versions.items():
        assert (
            played.context.lake.version(
                "example", table, played.context.timeline.window_at(START + timedelta(days=22)).id
            )
            == version
        )
