"""The base of all stored and reported records."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Base of all records: unknown fields are errors, and values never change.

    A field that is stored under another name than its own has the stored name as its alias, so that state folders of
    earlier releases stay readable.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
