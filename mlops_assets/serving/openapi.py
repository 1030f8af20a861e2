"""The path `/invocations` of the service's OpenAPI document, from models that are built from the champion's inputs."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, Security
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from mlops_assets.prediction.schema import ENTITY, EVENT_TIME, Dtype, InputSchema
from mlops_assets.prediction.service_api import ErrorBody

TYPES: dict[Dtype, type] = {"float": float, "int": int, "bool": bool, "category": str}
CLIENT = HTTPBearer(scheme_name="client", auto_error=False, description="The clients' token, where one is required.")
SCORER = APIKeyHeader(
    name="X-Scorer-Token", scheme_name="scorer", auto_error=False, description="The token of the scorer."
)
ERRORS: dict[int, str] = {
    400: "the body cannot be read",
    401: "a token is required",
    403: "the token is wrong",
    409: "the request contradicts the state of the service",
    413: "the body is too large",
    415: "the content type is not supported",
    422: "a field is invalid",
    503: "no version serves yet",
}

Fields = dict[str, Any]


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of error responses, as FastAPI takes it."""
    return {status: {"model": ErrorBody, "description": ERRORS[status]} for status in statuses}


def document(app: FastAPI, schema: InputSchema, example: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document of an application, with the path `/invocations`.

    Args:
        app: the application; it has all other paths.
        schema: the inputs of the version that serves.
        example: a row of a request.
    """
    return get_openapi(title=app.title, version=app.version, routes=[*app.routes, _invocations(schema, example)])


def _invocations(schema: InputSchema, example: dict[str, Any]) -> APIRoute:
    """Return a route that only describes `/invocations`: the service handles these requests before FastAPI."""

    def invocations() -> None:
        """Send the rows in one of the forms of MLflow's scoring protocol."""

    body = inspect.Parameter(
        "body", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[_request(schema), Body()]
    )
    invocations.__signature__ = inspect.Signature([body])  # type: ignore[attr-defined]
    return APIRoute(
        "/invocations",
        invocations,
        methods=["POST"],
        summary=f"Predict {schema.target}",
        response_model=_response(schema),
        response_description="One prediction per row.",
        responses=error_responses(*ERRORS),
        dependencies=[Security(CLIENT), Security(SCORER)],
        openapi_extra={
            # a token is required only if the service is configured with one
            "security": [{}],
            "requestBody": {"content": {"application/json": {"example": {"dataframe_records": [example]}}}},
        },
    )


def _model(name: str, doc: str, fields: Fields) -> type[BaseModel]:
    """Return a model with fields of any name: a column may be called like a method of pydantic's models."""
    aliased = {
        f"field_{number}": (Annotated[annotation, Field(alias=alias)], ...)
        for number, (alias, annotation) in enumerate(fields.items())
    }
    model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=doc, **aliased)  # type: ignore[call-overload]
    return model


def _row(schema: InputSchema) -> type[BaseModel]:
    fields: Fields = {EVENT_TIME: AwareDatetime}
    if schema.entity:
        fields[ENTITY] = Annotated[str, Field(description="Name of the series.")]
    for name, dtype in schema.known.items():
        fields[name] = TYPES[dtype] | None if name in schema.nullable else TYPES[dtype]
    for name in schema.history:
        fields[schema.history_field(name)] = Annotated[
            list[float | None],
            Field(
                min_length=schema.steps,
                max_length=schema.steps,
                description="Past values on the grid, oldest first, up to the newest known when the prediction is due.",
            ),
        ]
    return _model("Row", "Inputs of one prediction.", fields)


def _request(schema: InputSchema) -> Any:
    row: Any = _row(schema)
    times = list[AwareDatetime]

    class ScorerTimes(BaseModel):
        model_config = ConfigDict(extra="forbid")

        due: times = Field([], description="When each prediction is due; sent by the scorer only.")
        now: times = Field([], description="The project's time of each row; sent by the scorer only.")

    class Split(BaseModel):
        """Rows as lists of values, in the order of `columns`."""

        columns: list[str]
        data: list[list[Any]]
        index: list[Any] = []

    rows = Annotated[list[row], Field(min_length=1)]
    records = create_model("Records", __base__=ScorerTimes, dataframe_records=(rows, ...))
    inputs = create_model("Inputs", __base__=ScorerTimes, inputs=(rows | row, ...))
    split = create_model("SplitRows", __base__=ScorerTimes, dataframe_split=(Split, ...))
    return records | inputs | split


def _response(schema: InputSchema) -> type[BaseModel]:
    label: Any = Literal[tuple(schema.classes)] if schema.classes else float
    share = Annotated[float, Field(ge=0, le=1)]
    fields: Fields = {
        "prediction": label,
        **{f"probability_{name}": share for name in schema.classes},
        "model_version": int,
        "dataset": Annotated[str, Field(description="md5 of the training snapshot.")],
        "event_id": str,
        "entity_known": Annotated[bool, Field(description="Whether the series was in the training set.")],
    }
    prediction: Any = _model("Prediction", "A prediction, and the version that made it.", fields)

    class ScorerPrediction(prediction):  # type: ignore[misc]
        stored: bool = Field(description="Whether the event had this prediction before the request.")

    return create_model(
        "Predictions",
        predictions=(list[prediction] | list[ScorerPrediction], Field(description="In order of the rows.")),
    )
