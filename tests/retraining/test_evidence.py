from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError
from retraining_inputs import (
    AGE,
    HOLDOUT,
    PERFORMANCE,
    PSI,
    SHARE,
    START,
    WEEK,
    after,
    drifting,
    evidence,
    found,
    loop_state,
    losing,
    policy,
    week,
    window,
)

from mlops_assets.errors import Refused
from mlops_assets.retraining.evidence import find_evidence, signal_names, signal_table


def ids(items):
    return [item.identity for item in items]


# Performance


def test_loss_above_the_ratio_to_the_first_live_windows_is_a_breach():
    (breach,) = found(policy(PERFORMANCE), losing(40, 44, 50, 70))
    assert breach.signal == "performance:first_live_windows"
    assert breach.window == week(3)
    assert breach.value == 60
    assert breach.threshold == pytest.approx(1.3 * 42)


def test_loss_exactly_at_the_threshold_is_no_breach():
    spec = policy({"type": "performance", "ratio": 1.5, "first": 1, "last": 1})
    assert not found(spec, losing(40, 60))
    assert found(spec, losing(40, 60.001))


def test_worse_by_is_a_difference_not_a_ratio():
    spec = policy({"type": "performance", "worse_by": 0.05, "first": 1, "last": 1})
    assert not found(spec, losing(0.30, 0.34))
    assert found(spec, losing(0.30, 0.36))
    assert not found(spec, losing(0.01, 0.05))


def test_first_and_last_windows_never_overlap():
    spec = policy({"type": "performance", "ratio": 1.3, "first": 2, "last": 2})
    assert not found(spec, losing(10, 20, 90)), "the second window would be both first and last"
    assert ids(found(spec, losing(10, 20, 90, 20))) == [f"1:performance:first_live_windows:{week(3)}"]


def test_holdout_reference_needs_only_the_last_windows():
    assert ids(found(policy(HOLDOUT), losing(50, 56))) == [f"1:performance:holdout:{week(1)}"]
    assert not found(policy(HOLDOUT), losing(50, 53))
    assert not found(policy(HOLDOUT), losing(99))


def test_window_without_a_loss_neither_continues_nor_ends_a_performance_breach():
    assert ids(found(policy(PERFORMANCE), losing(40, None, 44, 50, None, 70))) == [
        f"1:performance:first_live_windows:{week(5)}"
    ]


def test_after_a_rollback_the_reference_is_of_the_versions_first_deployment_period():
    rolled_back = loop_state({"number": 3, "version": 1, "first_losses": [40, 44, 500]})
    assert ids(found(policy(PERFORMANCE), losing(60, 61), rolled_back)) == [
        f"3:performance:first_live_windows:{week(1)}"
    ]
    assert not found(policy(PERFORMANCE), losing(50, 51), rolled_back)


def test_after_a_rollback_own_windows_complete_a_short_reference():
    rolled_back = loop_state({"number": 3, "version": 1, "first_losses": [40]})
    (breach,) = found(policy(PERFORMANCE), losing(44, 60, 61), rolled_back)
    assert breach.threshold == pytest.approx(1.3 * 42)
    assert not found(policy(PERFORMANCE), losing(44, 60), rolled_back)


def test_consumption_keeps_the_reference_and_excludes_earlier_last_windows():
    windows = losing(40, 44, 70, 70, 70, 70)
    consumed = loop_state(consumed_through=after(4))
    assert not found(policy(PERFORMANCE), windows[:5], consumed), "only one window has ended since"
    (breach,) = found(policy(PERFORMANCE), windows, consumed)
    assert breach.window == week(5)
    assert breach.threshold == pytest.approx(1.3 * 42)


def test_window_with_too_few_rows_does_not_count_for_performance():
    spec = policy({"type": "performance", "ratio": 1.3, "first": 1, "last": 1})
    assert not found(spec, [window(0, 40), window(1, 90, too_few_rows=True)])
    assert not found(spec, [window(0, 10, too_few_rows=True), window(1, 40), window(2, 50)])


# Drift


def test_drift_breach_needs_windows_in_a_row_and_names_the_first():
    assert not found(policy(PSI), drifting(0.3, 0.1, 0.3))
    (breach,) = found(policy(PSI), drifting(0.1, 0.3, 0.4))
    assert breach.identity == f"1:drift:prediction:psi:{week(1)}"


def test_drift_exactly_at_the_threshold_is_no_breach():
    assert not found(policy(PSI | {"for": 1}), drifting(0.2))
    assert found(policy(PSI | {"for": 1}), drifting(0.2001))


def test_window_with_too_few_rows_neither_continues_nor_ends_a_drift():
    sparse = window(1, too_few_rows=True, prediction_drift={}, data_drift_share=None)
    high = [window(i, prediction_drift={"psi": 0.3}) for i in (0, 2)]
    assert ids(found(policy(PSI), [high[0], sparse, high[1]])) == [f"1:drift:prediction:psi:{week(0)}"]
    assert not found(policy(PSI), [high[0], sparse])


def test_window_whose_report_lacks_the_statistic_does_not_count():
    older = window(1, prediction_drift={"wasserstein": 9.0})
    high = [window(i, prediction_drift={"psi": 0.3}) for i in (0, 2)]
    assert ids(found(policy(PSI), [high[0], older, high[1]])) == [f"1:drift:prediction:psi:{week(0)}"]


def test_data_drift_reads_the_share_of_drifted_columns():
    windows = [window(0, data_drift_share=0.5), window(1, data_drift_share=0.6)]
    assert ids(found(policy(SHARE), windows)) == [f"1:drift:data:{week(1)}"]


def test_consumption_restarts_the_count_of_drifted_windows():
    windows = drifting(0.3, 0.3, 0.3, 0.3)
    assert not found(policy(PSI), windows[:3], loop_state(consumed_through=after(2)))
    assert ids(found(policy(PSI), windows, loop_state(consumed_through=after(2)))) == [
        f"1:drift:prediction:psi:{week(2)}"
    ]


# Age


def test_age_breach_names_the_window_in_which_the_limit_was_reached():
    windows = losing(*[40] * 20)
    assert not find_evidence(policy(AGE), windows[:12], loop_state(), START + timedelta(days=90, microseconds=-1))
    (breach,) = found(policy(AGE), windows)
    assert breach.window == week(12)
    assert breach.threshold == 90


def test_age_exactly_at_the_limit_is_a_breach():
    spec = policy({"type": "age", "max": "14d"})
    windows = losing(40, 40)
    assert ids(found(spec, windows)) == [f"1:age:{week(1)}"]
    as_of = START + WEEK / 1_000_000
    assert not found(spec, windows, loop_state({"version_as_of": as_of}))


def test_age_restarts_when_a_training_consumes_it():
    spec, windows = policy({"type": "age", "max": "14d"}), losing(*[40] * 6)
    consumed = loop_state(consumed_through=after(3))
    assert not found(spec, windows[:4], consumed)
    assert ids(found(spec, windows[:5], consumed)) == [f"1:age:{week(4)}"]


def test_age_is_no_breach_without_a_window():
    assert not find_evidence(policy(AGE), [], loop_state({"version_as_of": START - 20 * WEEK}), START)


def test_age_never_names_a_window_before_its_consumption():
    spec, consumed = policy({"type": "age", "max": "14d"}), loop_state(consumed_through=after(2))
    assert not find_evidence(spec, losing(40, 40), consumed, after(9))


def test_age_is_a_breach_before_the_window_of_that_moment_has_ended():
    spec, windows = policy({"type": "age", "max": "10d"}), losing(40)
    assert ids(find_evidence(spec, windows, loop_state(), START + 1.5 * WEEK)) == [f"1:age:{week(0)}"]


# Evidence stays active


def test_past_breach_is_found_again_without_recorded_evidence():
    healed = losing(40, 44, 50, 70, 40, 40, 40)
    assert ids(found(policy(PERFORMANCE), healed)) == [f"1:performance:first_live_windows:{week(3)}"]
    assert ids(found(policy(PSI), drifting(0.3, 0.3, 0.0, 0.0))) == [f"1:drift:prediction:psi:{week(0)}"]


def test_recorded_evidence_takes_precedence_over_a_new_breach():
    recorded = evidence(index=2)
    assert found(policy(PERFORMANCE), losing(40, 44, 50, 70), loop_state(recorded=[recorded])) == [recorded]


def test_late_labels_do_not_rename_evidence():
    ended = [*losing(40, 44, 50), window(3, None, stage="ended", prediction_drift={"psi": 0.3})]
    ended.append(window(4, None, stage="ended", prediction_drift={"psi": 0.3}))
    before = found(policy(PERFORMANCE, PSI), ended)
    labelled = [*losing(40, 44, 50), *(window(i, 70, prediction_drift={"psi": 0.3}) for i in (3, 4))]
    later = found(policy(PERFORMANCE, PSI), labelled, loop_state(recorded=before))
    assert ids(before) == [f"1:drift:prediction:psi:{week(3)}"]
    assert set(ids(before)) < set(ids(later))


def test_evidence_of_an_earlier_deployment_period_is_not_active():
    assert not found(
        policy(PERFORMANCE), losing(40, 40), loop_state({"number": 2}, recorded=[evidence(deployment_period=1)])
    )


def test_evidence_recorded_during_its_training_is_consumed_by_it():
    late = loop_state(recorded=[evidence(index=3)], consumed_through=after(4))
    assert not found(policy(PERFORMANCE), losing(40, 44, 50, 70, 40), late)


def test_evidence_of_a_removed_signal_is_not_active():
    assert not found(policy(AGE), losing(40, 40), loop_state(recorded=[evidence()]))


# Any and all


def test_any_is_the_union_of_its_members():
    windows = [window(i, loss, prediction_drift={"psi": 0.3}) for i, loss in enumerate([40, 44, 50, 70])]
    assert {item.signal for item in found(policy(PERFORMANCE, PSI, AGE), windows)} == {
        "performance:first_live_windows",
        "drift:prediction:psi",
    }


def test_all_needs_every_member_and_each_stays_active_by_itself():
    spec = policy(PERFORMANCE, PSI, type="all")
    drifted = drifting(0.3, 0.3, 0.0)
    assert not found(spec, drifted)
    later = [*drifted, window(3, 40), window(4, 90), window(5, 90)]
    assert ids(found(spec, later)) == [
        f"1:performance:first_live_windows:{week(4)}",
        f"1:drift:prediction:psi:{week(0)}",
    ]


def test_any_and_all_nest():
    inner = {"type": "all", "of": [PERFORMANCE, PSI]}
    assert not found(policy(inner, AGE), drifting(0.3, 0.3))
    assert ids(found(policy(inner, SHARE), [window(0, data_drift_share=0.9)])) == [f"1:drift:data:{week(0)}"]


def test_two_conditions_with_one_signal_have_separate_evidence():
    mild = {"type": "performance", "ratio": 1.1, "first": 1, "last": 1}
    harsh = {"type": "performance", "ratio": 2.0, "first": 1, "last": 1}
    spec = policy(mild, harsh, type="all")
    assert list(signal_names(spec.when).values()) == [
        "performance:first_live_windows",
        "performance:first_live_windows#2",
    ]
    assert not found(spec, losing(40, 50), loop_state(recorded=[evidence(index=1)]))
    assert len(found(spec, losing(40, 50, 90))) == 2


# The table and the sentences


def test_table_shows_each_condition_with_value_and_threshold():
    windows = [window(i, loss, prediction_drift={"psi": 0.3}) for i, loss in enumerate([40, 44, 50])]
    rows = {
        row.signal: row for row in signal_table(policy(PERFORMANCE, PSI, SHARE, AGE), windows, loop_state(), after(3))
    }
    performance = rows["performance:first_live_windows"]
    assert (performance.value, performance.since, performance.note) == (None, None, "1 of 2 last windows")
    assert performance.threshold == pytest.approx(1.3 * 42)
    assert (rows["drift:prediction:psi"].value, rows["drift:prediction:psi"].since) == (0.3, week(0))
    assert rows["drift:data"].condition == "share of drifted columns > 0.5"
    assert (rows["age"].value, rows["age"].threshold) == (21, 90)


def test_table_notes_what_a_condition_lacks():
    rows = signal_table(policy(PERFORMANCE, PSI), drifting(0.3), loop_state(), after(1))
    assert [row.note for row in rows] == ["1 of 2 first windows", "1 of 2 windows in a row"]
    rows = signal_table(policy(PERFORMANCE, PSI), [window(0, None, too_few_rows=True)], loop_state(), after(1))
    assert [row.note for row in rows] == ["0 of 2 first windows", "no window has enough rows"]


def test_sentence_contains_numbers_and_the_local_date():
    (breach,) = found(policy(PERFORMANCE), losing(41.9, 41.9, 61.2, 61.2))
    assert breach.sentence == (
        "loss of the last 2 windows (61.2) is 1.46 times the loss of the model's first 2 live windows (41.9), "
        "limit 1.3 times, since the window of 2011-04-23"
    )
    (breach,) = found(policy(PSI), drifting(0.31, 0.28), loop_state(zone="UTC"))
    assert breach.sentence == (
        "prediction drift (psi) 0.28, limit 0.2, in 2 windows in a row, since the window of 2011-04-02 04:00"
    )


def test_value_just_above_its_limit_has_enough_digits_to_differ():
    (breach,) = found(policy(PSI | {"for": 1}), drifting(0.200004))
    assert "prediction drift (psi) 0.200004, limit 0.2" in breach.sentence


def test_any_loss_above_a_reference_of_zero_is_a_breach():
    spec = policy({"type": "performance", "ratio": 1.3, "first": 1, "last": 1})
    (breach,) = found(spec, losing(0, 0.1))
    assert breach.sentence.startswith(
        "loss of the last window (0.1) is above the loss of the model's first live window (0), "
        "limit 1.3 times that loss"
    )


# Refusals


def test_window_that_has_not_ended_is_refused():
    with pytest.raises(Refused, match=r"\[bike_demand\] window 2011-04-09T04:00:00Z: it ends at"):
        find_evidence(policy(PERFORMANCE), losing(40, 40), loop_state(), after(1))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -1.0])
def test_negative_or_infinite_loss_is_refused(loss):
    with pytest.raises(ValidationError, match="loss"):
        window(0, loss)


def test_order_of_windows_does_not_matter():
    windows = losing(40, 44, 50, 70)
    assert found(policy(PERFORMANCE), windows) == find_evidence(
        policy(PERFORMANCE), windows[::-1], loop_state(), after(4)
    )
