"""The service's OpenAPI document: requests and answers typed after the champion's inputs, with an example."""

from __future__ import annotations

from typing import Any

from mlops_assets.prediction.inputs import ENTITY, EVENT_TIME, InputSchema

JSONSchema = dict[str, Any]
TYPES: dict[str, str] = {"float": "number", "int": "integer", "bool": "boolean", "category": "string"}


def describe(document: JSONSchema, schema: InputSchema, example: dict[str, Any]) -> JSONSchema:
    """Add the scoring path to a document.

    Args:
        document: of the other paths.
        schema: of the model that answers.
        example: a request's row.
    """
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {"Row": _row(schema), "Answer": _answer(schema), "Request": _request(), "Error": ERROR}
    )
    components["securitySchemes"] = {
        "client": {"type": "http", "scheme": "bearer"},
        "scorer": {"type": "apiKey", "in": "header", "name": "X-Scorer-Token"},
    }
    answer = {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}}},
    }
    codes = {"400": "not understood", "401": "no token", "403": "wrong token", "409": "the version may not answer it"}
    codes |= {"413": "too large", "415": "content type", "422": "a field is at fault", "503": "no model serves"}
    document["paths"]["/invocations"] = {
        "post": {
            "summary": f"Predict {schema.target}",
            "description": "MLflow's scoring protocol: exactly one of the input forms.",
            "security": [{}, {"client": []}, {"scorer": []}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {"$ref": "#/components/schemas/Request"},
                        "example": {"dataframe_records": [example]},
                    }
                },
            },
            "responses": {
                "200": {"description": "one answer per row", "content": {"application/json": {"schema": answer}}},
                **{
                    code: {
                        "description": text,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                    }
                    for code, text in codes.items()
                },
            },
        }
    }
    return document


ERROR: JSONSchema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["field", "message", "row"],
            "properties": {
                "field": {"type": "string", "description": "what is at fault"},
                "message": {"type": "string"},
                "row": {"type": ["integer", "null"], "description": "which row, counted from 0"},
            },
        }
    },
}


def _row(schema: InputSchema) -> JSONSchema:
    properties: dict[str, JSONSchema] = {EVENT_TIME: {"type": "string", "format": "date-time"}}
    if schema.entity:
        properties[ENTITY] = {"type": "string"}
    for name, dtype in schema.known.items():
        properties[name] = {"type": [TYPES[dtype], "null"] if name in schema.nullable else TYPES[dtype]}
    for name in schema.history:
        properties[schema.history_field(name)] = {
            "type": "array",
            "items": {"type": ["number", "null"]},
            "minItems": schema.steps,
            "maxItems": schema.steps,
            "description": "on the grid, oldest first, up to the newest value known when the answer is due",
        }
    return {"type": "object", "required": schema.fields, "properties": properties, "additionalProperties": False}


def _answer(schema: InputSchema) -> JSONSchema:
    prediction: JSONSchema = {"type": "string", "enum": schema.classes} if schema.classes else {"type": "number"}
    return {
        "type": "object",
        "properties": {
            "prediction": prediction,
            **{f"probability_{name}": {"type": "number", "minimum": 0, "maximum": 1} for name in schema.classes},
            "model_version": {"type": "integer"},
            "dataset": {"type": "string", "description": "md5 of the training snapshot"},
            "event_id": {"type": "string"},
            "entity_known": {
                "type": "boolean",
                "description": "false: never seen in training",
            },
            "stored": {"type": "boolean", "description": "to the scorer: the answer was given before and stands"},
        },
    }


def _request() -> JSONSchema:
    rows = {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Row"}}
    split = {
        "type": "object",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": {"type": "array"}},
            "index": {"type": "array"},
        },
    }
    scorer = {
        "due": {"type": "array", "items": {"type": "string", "format": "date-time"}, "description": "scorer only"},
        "now": {"type": "array", "items": {"type": "string", "format": "date-time"}, "description": "scorer only"},
    }
    one_or_more = {"oneOf": [rows, {"$ref": "#/components/schemas/Row"}]}
    forms = {"dataframe_records": rows, "inputs": one_or_more, "dataframe_split": split}
    return {"oneOf": [{"type": "object", "required": [k], "properties": {k: v, **scorer}} for k, v in forms.items()]}
