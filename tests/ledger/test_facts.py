"""The texts and keys of facts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mlops_assets.ledger.facts import FACTS, Decided, Decision

AT = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("reason", ["no trigger.", "Wait: no trigger."])
def test_text_of_a_decision_names_its_outcome_once(reason: str) -> None:
    """Release 0.1.0 stored the outcome in the reason."""
    decision = Decision(
        id="1", project="small", deployment_period=1, outcome="WAIT", window=None, stage=None, at=AT, reason=reason
    )
    assert decision.text == "WAIT: no trigger."


def test_stored_names_of_release_0_1_0_are_kept() -> None:
    stored = (
        '{"kind":"decision","at":"2020-01-02T00:00:00Z","decision":{"id":"1","project":"small","reign":2,'
        '"outcome":"WAIT","window":null,"stage":null,"at":"2020-01-02T00:00:00Z","reason":"r","evidence":[],'
        '"guards":[],"by":"policy","in_progress":null}}'
    )
    fact = FACTS.validate_json(stored)
    assert isinstance(fact, Decided)
    assert (fact.decision.deployment_period, fact.key) == (2, "1")
    assert fact.model_dump_json() == stored
