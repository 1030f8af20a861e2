from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hourly import COLUMNS, MakeSource, hourly
from pydantic import TypeAdapter

from mlops_assets.errors import SourceError, SpecError
from mlops_assets.prediction.inputs import cut_inputs
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.source.project_source import BadRowsError
from mlops_assets.timeline import Timeline

START, END = datetime(2011, 3, 1, tzinfo=UTC), datetime(2011, 3, 2, tzinfo=UTC)
PLACE = "planted_source.read for 2011-03-01T00:00:00Z to 2011-03-02T00:00:00Z"
HOUR = timedelta(hours=1)
NEW_YORK = {"time_zone": "America/New_York"}


def test_rows_have_platform_names_and_types_without_dropped_columns(
    make_source: MakeSource,
) -> None:
    rows = make_source().read(START, END)
    assert list(rows.columns) == ["event_time", "x", "day", "y"]
    assert rows.dtypes.astype(str).tolist() == ["datetime64[ns, UTC]", "float64", "int64", "float64"]
    assert len(rows) == 24


def test_options_reach_the_function(make_source: MakeSource) -> None:
    seen: dict[str, Any] = {}

    def read(start: datetime, end: datetime, **options: Any) -> pd.DataFrame:
        seen.update(options)
        return hourly(start, end)

    make_source(read, data={"options": {"table": "rides"}}).read(START, END)
    assert seen == {"table": "rides"}


def test_source_function_always_gets_the_same_class_of_utc(make_source: MakeSource) -> None:
    seen: list[datetime] = []

    def read(start: datetime, end: datetime) -> pd.DataFrame:
        seen.extend([start, end])
        return hourly(start, end)

    from_the_ledger = TypeAdapter(datetime).validate_json('"2011-03-01T00:00:00Z"')
    conflict = END.astimezone(ZoneInfo("America/New_York"))
    make_source(read).read(from_the_ledger, conflict)
    assert seen == [START, END]
    assert [moment.tzinfo for moment in seen] == [UTC, UTC]


def test_missing_source_function_is_a_spec_error(make_source: MakeSource) -> None:
    source = make_source(data={"source": "planted_source.nothing"})
    with pytest.raises(SpecError, match=r"\[small\] data.source: .*planted_source.nothing cannot be imported"):
        source.read(START, END)


def test_error_of_the_source_is_chained(make_source: MakeSource) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        raise ConnectionError("no route to host")

    with pytest.raises(SourceError, match="it raised ConnectionError: no route to host") as caught:
        make_source(read).read(START, END)
    assert (caught.value.project, caught.value.place) == ("small", PLACE)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_source_must_return_a_dataframe(make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match="it returned list, where a pandas DataFrame was expected"):
        make_source(lambda start, end: []).read(START, END)


def shuffled(start: datetime, end: datetime) -> pd.DataFrame:
    return hourly(start, end).iloc[::-1]


def doubled(start: datetime, end: datetime) -> pd.DataFrame:
    rows = hourly(start, end)
    return pd.concat([rows, rows.iloc[[3]]]).sort_values("when")


def earlier(start: datetime, end: datetime) -> pd.DataFrame:
    return hourly(start - 2 * HOUR, end)


def later(start: datetime, end: datetime) -> pd.DataFrame:
    return hourly(start, end + HOUR)


@pytest.mark.parametrize(
    ("read", "kind", "words", "count"),
    [
        (lambda s, e: hourly(s, e).iloc[:0], "empty", "it returned no rows", 0),
        (lambda s, e: pd.DataFrame(), "empty", "it returned no rows", 0),
        (lambda s, e: hourly(s, e).drop(columns="x"), "columns", "columns x are missing", 24),
        (lambda s, e: hourly(s, e).drop(columns="when"), "columns", "columns when are missing", 24),
        (lambda s, e: hourly(s, e, extra=1), "columns", "columns extra are not declared", 24),
        (lambda s, e: pd.concat([hourly(s, e), hourly(s, e)[["x"]]], axis=1), "columns", "x are there twice", 24),
        (earlier, "outside", "2 rows lie outside the requested span, the first at 2011-02-28T22:00:00", 2),
        (later, "outside", "1 rows lie outside the requested span, the first at 2011-03-02T00:00:00", 1),
        (doubled, "duplicates", "1 rows repeat the event_time of an earlier row, the first at 2011-03-01 03:00", 2),
        (shuffled, "order", "23 rows are older than the row before them", 23),
        (lambda s, e: hourly(s, e, when="soon"), "times", "24 values of 'when' are not times, the first is 'soon'", 24),
        (lambda s, e: hourly(s, e, when=range(24)), "times", "24 values of 'when' are not times, the first is 0", 24),
        (lambda s, e: hourly(s, e, when=pd.NaT), "times", "24 rows have no time in 'when'", 24),
    ],
)
def test_rows_that_are_not_a_series_are_refused_with_the_bad_rows(
    make_source: MakeSource, read: Any, kind: str, words: str, count: int
) -> None:
    with pytest.raises(BadRowsError, match=words) as caught:
        make_source(read).read(START, END)
    assert (caught.value.kind, len(caught.value.rows), caught.value.place) == (kind, count, PLACE)
    assert pickle.loads(pickle.dumps(caught.value)).kind == kind


def test_empty_span_is_allowed_on_request(make_source: MakeSource) -> None:
    rows = make_source(lambda start, end: pd.DataFrame()).read(START, END, allow_empty=True)
    assert rows.empty
    assert list(rows.columns) == ["event_time", "x", "day", "y"]


def test_value_of_another_type_is_left_for_the_audit(make_source: MakeSource) -> None:
    rows = make_source(lambda s, e: hourly(s, e, x=["warm"] + [20.0] * 23)).read(START, END)
    assert rows["x"].tolist()[:2] == ["warm", 20.0]


def test_each_series_has_its_own_order_and_times(make_source: MakeSource) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        return pd.concat([hourly(start, end, shop=shop) for shop in (2, 1)])

    rows = make_source(read, data={"entity": "shop"}).read(START, END)
    assert rows["entity"].tolist()[:4] == ["1", "2", "1", "2"]
    with pytest.raises(BadRowsError, match="24 rows have no value in the entity column 'shop'"):
        make_source(lambda s, e: hourly(s, e, shop=None), data={"entity": "shop"}).read(START, END)


def test_classification_target_is_read_as_text(make_source: MakeSource) -> None:
    columns = COLUMNS | {"y": {"dtype": "int", "isin": [0, 1]}}
    problem = {"task": "classification", "metric": "accuracy"}
    source = make_source(lambda s, e: hourly(s, e, y=[0, 1] * 12), problem=problem, data={"columns": columns})
    assert source.read(START, END)["y"].tolist()[:2] == ["0", "1"]


# Clock changes


def naive(first: str, last: str) -> pd.DataFrame:
    """Return one row per naive local hour: an hour that occurs twice has one row, and a skipped hour has one too."""
    when = pd.date_range(first, last, freq="h")
    return pd.DataFrame({"when": when, "x": 1.0, "day": 0, "y": 1.0, "secret": 1.0})


def local_file(rows: pd.DataFrame, zone: str = "America/New_York") -> Any:
    """Return a source function over a file of naive local times, which selects by them."""

    def read(start: datetime, end: datetime) -> pd.DataFrame:
        first, last = (pd.Timestamp(bound).tz_convert(zone).tz_localize(None) for bound in (start, end))
        return rows[(rows["when"] >= first) & (rows["when"] < last)]

    return read


AUTUMN = local_file(naive("2011-11-05", "2011-11-07 23:00"))


@pytest.mark.parametrize(("ambiguous", "hour"), [("first", 5), ("second", 6)])
def test_single_row_of_a_repeated_hour_follows_data_ambiguous(
    make_source: MakeSource, ambiguous: str, hour: int
) -> None:
    source = make_source(AUTUMN, data=NEW_YORK | {"ambiguous": ambiguous})
    rows = source.read(datetime(2011, 11, 6, 4, tzinfo=UTC), datetime(2011, 11, 6, 8, tzinfo=UTC))
    assert rows["event_time"].dt.hour.tolist() == [4, hour, 7]


@pytest.mark.parametrize("ambiguous", ["first", "second"])
def test_rows_near_a_clock_change_belong_to_exactly_one_hour(make_source: MakeSource, ambiguous: str) -> None:
    source = make_source(AUTUMN, data=NEW_YORK | {"ambiguous": ambiguous})
    first = datetime(2011, 11, 6, 0, tzinfo=UTC)
    whole = source.read(first, first + 24 * HOUR)
    hours = [source.read(first + n * HOUR, first + (n + 1) * HOUR, allow_empty=True) for n in range(24)]
    assert pd.concat(hours)["event_time"].tolist() == whole["event_time"].tolist()
    assert len(whole) == 23


def test_repeated_hour_without_data_ambiguous_is_an_error(make_source: MakeSource) -> None:
    source = make_source(AUTUMN, data=NEW_YORK | {"ambiguous": "error"})
    with pytest.raises(
        BadRowsError, match=r"1 naive times are ambiguous or do not exist in America/New_York.*set data.ambiguous"
    ):
        source.read(datetime(2011, 11, 6, tzinfo=UTC), datetime(2011, 11, 7, tzinfo=UTC))


SPRING = naive("2011-03-12", "2011-03-14 23:00")


def test_skipped_hour_follows_data_nonexistent(make_source: MakeSource) -> None:
    only = local_file(SPRING[SPRING["when"] != "2011-03-13 03:00"])
    span = (datetime(2011, 3, 13, 5, tzinfo=UTC), datetime(2011, 3, 13, 9, tzinfo=UTC))
    rows = make_source(only, data=NEW_YORK).read(*span)
    assert rows["event_time"].dt.hour.tolist() == [5, 6, 7, 8]
    with pytest.raises(BadRowsError, match="the first is 2011-03-13 02:00"):
        make_source(only, data=NEW_YORK | {"nonexistent": "error"}).read(*span)


def test_shifted_row_with_the_time_of_another_is_a_duplicate(make_source: MakeSource) -> None:
    with pytest.raises(BadRowsError, match="event_time of an earlier row, the first at 2011-03-13 07:00"):
        make_source(local_file(SPRING), data=NEW_YORK).read(
            datetime(2011, 3, 13, 5, tzinfo=UTC), datetime(2011, 3, 13, 9, tzinfo=UTC)
        )


def test_rows_outside_the_span_are_refused_near_a_clock_change(make_source: MakeSource) -> None:
    with pytest.raises(BadRowsError, match="lie outside"):
        make_source(lambda s, e: naive("2011-11-05", "2011-11-07"), data=NEW_YORK | {"ambiguous": "first"}).read(
            datetime(2011, 11, 6, tzinfo=UTC), datetime(2011, 11, 7, tzinfo=UTC)
        )


@pytest.mark.parametrize("write", [lambda t: t.isoformat(), lambda t: t.to_pydatetime(), lambda t: t])
def test_times_with_a_zone_are_read_in_every_form(make_source: MakeSource, write: Any) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        rows = hourly(start, end)
        return rows.assign(when=[write(time.tz_convert("Asia/Tokyo")) for time in rows["when"]])

    rows = make_source(read, data=NEW_YORK).read(START, END)
    assert rows["event_time"].iloc[0] == pd.Timestamp(START)


# What is known when


def test_known_by_excludes_rows_and_targets_not_known_yet(make_source: MakeSource) -> None:
    source = make_source(labels={"delay": "3h"}, data={"arrival_delay": "1h"})
    now = datetime(2011, 3, 1, 12, tzinfo=UTC)
    rows = source.known_by(START, END, now)
    # stamped s, covers [s, s + 1h), arrives an hour later: at 12:00 the row of 10:00 is the newest
    assert rows["event_time"].iloc[-1] == pd.Timestamp("2011-03-01T10:00Z")
    # and its target three hours later still
    assert rows.loc[rows["y"].notna(), "event_time"].iloc[-1] == pd.Timestamp("2011-03-01T07:00Z")
    assert source.labelled_by(START, now).rows["event_time"].iloc[-1] == pd.Timestamp("2011-03-01T07:00Z")


def test_integer_and_class_targets_can_be_unknown(make_source: MakeSource) -> None:
    now = datetime(2011, 3, 1, 12, tzinfo=UTC)
    whole = COLUMNS | {"y": {"dtype": "int"}}
    rows = make_source(labels={"delay": "3h"}, data={"columns": whole}).known_by(START, END, now)
    assert rows["y"].isna().sum() == 3
    classes = COLUMNS | {"y": {"dtype": "category", "isin": ["A", "B"]}}
    source = make_source(
        lambda s, e: hourly(s, e, y="A"),
        labels={"delay": "3h"},
        problem={"task": "classification", "metric": "accuracy"},
        data={"columns": classes},
    )
    assert source.known_by(START, END, now)["y"].tolist()[-4:] == ["A", None, None, None]


def test_labelled_rows_leave_out_bad_rows_and_count_them(make_source: MakeSource) -> None:
    source = make_source(lambda s, e: hourly(s, e, x=[-1.0] + [1.0] * (len(hourly(s, e)) - 1)))
    rows, dropped = source.labelled_by(START, END)
    assert rows["event_time"].iloc[0] == pd.Timestamp(START + HOUR)
    assert (len(rows), dropped) == (23, 1)


def test_events_have_only_time_and_known_columns(make_source: MakeSource) -> None:
    events = make_source().events(START, END)
    assert list(events.columns) == ["event_time", "x", "day", "copies"]


def test_future_events_need_neither_target_nor_past_values(make_source: MakeSource) -> None:
    events = make_source(lambda s, e: hourly(s, e)[["when", "x", "day"]]).events(START, END)
    assert len(events) == 24


def test_bad_events_have_a_reason(make_source: MakeSource) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        rows = hourly(start, end, x=[200.0, np.nan] + [1.0] * 22).astype({"day": object})
        rows.loc[3, "day"] = "Monday"
        return pd.concat([rows, rows.iloc[[5]]])

    source = make_source(read)
    events = source.events(START, END)
    assert len(events) == 24
    assert source.faults(events) == {
        0: "x must be <= 100, not 200.0",
        1: "x must be present, not nothing",
        3: "day must be a whole number, not 'Monday'",
        5: "the source returned its row more than once",
    }


def test_bad_past_values_are_missing(make_source: MakeSource) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        rows = hourly(start, end).astype({"y": object, "when": object})
        rows.loc[0, "y"], rows.loc[1, "y"], rows.loc[2, "when"] = "many", -1.0, "soon"
        return pd.concat([rows.iloc[::-1], rows.iloc[[5]]])

    rows = make_source(read).history(START, END)
    assert rows["y"].isna().tolist()[:3] == [True, True, False]
    hours = rows["event_time"].dt.hour.tolist()
    assert (hours[:4], 5 in hours) == ([0, 1, 3, 4], False)


def test_inputs_are_built_from_events_and_past_values(make_source: MakeSource) -> None:
    source = make_source()
    spec, timeline = source.spec, Timeline(source.spec)
    events = source.events(START, START + HOUR)
    past = source.history(
        *timeline.past_values_span(START - 6 * HOUR, START - 6 * HOUR, ["x"], timeline.feature_window_steps)
    )
    inputs = cut_inputs(timeline, InputSchema.of(spec), events, past)
    hours = (START - datetime(2011, 1, 1, tzinfo=UTC)) // HOUR
    assert inputs.history["y"][0].tolist() == [float(hours - 7 - n) for n in reversed(range(24))]
