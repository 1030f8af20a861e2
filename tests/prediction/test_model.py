from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from test_predictor import rows_of, schema_of, write

import mlops_assets
from mlops_assets.prediction.inputs import Inputs, from_records, to_records
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.prediction.signature import input_example, signature

if TYPE_CHECKING:
    from fitted_models import Fitted

MODEL_FILE = Path(mlops_assets.__path__[0]) / "prediction" / "model.py"
STEPS = 4


def schema() -> InputSchema:
    return schema_of(history=["cnt"], steps=STEPS)


def inputs_of(made: Fitted) -> Inputs:
    plain = rows_of(made)
    windows = np.arange(len(plain) * STEPS, dtype=np.float64).reshape(-1, STEPS)
    windows[1, 2] = np.nan
    return Inputs(plain.event_time, None, plain.known, {"cnt": windows})


@pytest.fixture(scope="module")
def saved(
    fitted: dict[str, Fitted], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Predictor, Inputs]]:
    """Return a version that MLflow saved and loaded, the predictor of the same bundle, and rows."""
    import mlflow

    folder = tmp_path_factory.mktemp("model")
    inputs = inputs_of(fitted["GBM"])
    write(folder / "bundle", fitted["GBM"], schema(), examples=inputs)
    records = to_records(inputs.take([0, 1]), schema())
    mlflow.pyfunc.save_model(
        path=folder / "saved",
        python_model=str(MODEL_FILE),
        artifacts={"bundle": str(folder / "bundle")},
        signature=signature(schema()),
        input_example=input_example(schema(), records),
        pip_requirements=["mlops-assets"],
    )
    yield mlflow.pyfunc.load_model(str(folder / "saved")), Predictor.load(folder / "bundle"), inputs


def invoke(model: Any, body: dict[str, Any]) -> Any:
    """Return what MLflow's own server returns for the body of a request."""
    from mlflow.pyfunc.scoring_server import invocations

    return invocations(json.dumps(body), "application/json", model, model.metadata.get_input_schema())


def test_mlflow_model_predicts_like_the_predictor(saved: tuple[Any, Predictor, Inputs]) -> None:
    model, predictor, inputs = saved
    frame = input_example(schema(), to_records(inputs, schema()))
    assert model.predict(frame)["prediction"].tolist() == predictor.predict(inputs).value.tolist()


def test_scoring_server_accepts_records_split_and_inputs(saved: tuple[Any, Predictor, Inputs]) -> None:
    model, predictor, inputs = saved
    few = inputs.take([0, 1, 2])
    records = to_records(few, schema())
    fields = list(records[0])
    split = {"columns": fields, "data": [list(record.values()) for record in records]}
    for body in ({"dataframe_records": records}, {"dataframe_split": split}, {"inputs": records}):
        result = invoke(model, body)
        assert result.status == 200, result.response
        found = [row["prediction"] for row in json.load(io.StringIO(result.response))["predictions"]]
        assert found == predictor.predict(few).value.tolist()


def test_window_of_whole_numbers_is_accepted(saved: tuple[Any, Predictor, Inputs]) -> None:
    model, _, inputs = saved
    record = to_records(inputs.take([0]), schema())[0]
    assert invoke(model, {"dataframe_records": [record | {"cnt": [1, 2, 3, 4]}]}).status == 200
    assert invoke(model, {"dataframe_records": [record | {"cnt": [None] * STEPS}]}).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("cnt", [1.0, 2.0]), ("cnt", ["a"] * STEPS), ("event_time", "2011-03-01T00:00:00"), ("b", None), ("b", "x")],
)
def test_bad_row_gives_status_400_and_names_the_field(
    saved: tuple[Any, Predictor, Inputs], field: str, value: Any
) -> None:
    from mlflow.exceptions import MlflowException

    model, _, inputs = saved
    record = to_records(inputs.take([0]), schema())[0]
    with pytest.raises(MlflowException, match=field) as caught:
        invoke(model, {"dataframe_records": [record | {field: value}]})
    assert caught.value.get_http_status_code() == 400


def test_null_is_accepted_in_nullable_columns(saved: tuple[Any, Predictor, Inputs]) -> None:
    model, predictor, inputs = saved
    gap = int(np.flatnonzero(np.isnan(inputs.known["a"]))[0])
    few = inputs.take([gap])
    result = invoke(model, {"dataframe_records": to_records(few, schema())})
    assert json.loads(result.response)["predictions"][0]["prediction"] == predictor.predict(few).value[0]


def test_signature_of_a_classification_has_a_probability_per_class() -> None:
    described = signature(schema_of("classification", entity=True))
    assert described.inputs.input_names() == ["event_time", "entity", "a", "sky", "constant", "b"]
    assert described.inputs.required_input_names() == ["event_time", "entity", "constant", "b"]
    assert described.outputs.input_names() == ["prediction", "probability_UP", "probability_DOWN", "probability_STILL"]


@pytest.mark.parametrize(("sent", "seen"), [(None, None), (True, 1.0), (False, 0.0)])
def test_missing_boolean_is_missing_in_the_stock_server(sent: bool | None, seen: float | None) -> None:
    """MLflow would read null in a boolean column as false."""
    from mlflow.pyfunc.scoring_server import infer_and_parse_data

    nullable = schema_of().model_copy(update={"known": {"open": "bool", "shut": "bool"}, "nullable": ["open"]})
    record = {"event_time": "2020-01-01T00:00:00Z", "open": sent, "shut": True}
    body = {"dataframe_records": [record]}
    frame = infer_and_parse_data(body, signature(nullable).inputs)
    found = frame["open"].tolist()[0]
    assert (None if found != found else found) == seen
    received = [{"event_time": record["event_time"], "open": seen, "shut": True}]
    assert from_records(received, nullable).known["open"].tolist() == pytest.approx(
        from_records([record], nullable).known["open"].tolist(), nan_ok=True
    )
    assert str(input_example(nullable, [record])["open"].dtype) == "float64"
