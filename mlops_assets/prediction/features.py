"""Compute the feature matrix: known columns, lags and tsfresh features of feature windows.

Training and service use the same code, and one row alone gives the same bits as among many.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator

from mlops_assets.prediction.fields import Floats
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.tsfresh_import import import_tsfresh

FeatureMatrix = npt.NDArray[np.float64]
"""(n, k) float64, columns in the order of `FeatureDefinitions.names`; categories as codes of their levels; NaN where a
value is missing."""

CACHE_LINE = 64


class Rejected(BaseModel):
    """A relevant feature that was not selected because of its computing cost."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    name: str
    p_value: float
    cost: float
    """Microseconds that it would have added to a prediction."""


class BudgetLoss(BaseModel):
    """By how much the cost budget raises the loss, measured with a quick model on the sample."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    measure: str
    """The metric, the model and the rows of the comparison."""
    within: float
    """Loss with the selected features."""
    without: float
    """Loss with the features that would be selected without a budget."""


class FeatureDefinitions(BaseModel):
    """The selected features: known columns, and lags and tsfresh features of history columns."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    known: list[str] = []
    levels: dict[str, list[str]] = {}
    """Levels of each known category in the training set; a level's position is its code."""
    lags: dict[str, dict[str, int]] = {}
    """Per history column, the past values that are features: their age (`168h`) and position in the feature window."""
    calculators: dict[str, list[str]] = {}
    """Per history column, tsfresh's names of the features without the column: `mean`, `quantile__q_0.1`."""
    costs: dict[str, float] = {}
    """Microseconds per prediction that each feature adds."""
    p_values: dict[str, float] = {}
    """p-values of tsfresh's relevance test, for all features that passed it."""
    rejected_for_cost: list[Rejected] = []
    """Features that would have been selected without a budget."""
    budget_loss: BudgetLoss | None = None
    """None when no feature was rejected for its cost."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> FeatureDefinitions:
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise ValueError(f"features {repeated} have the same name as others")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the matrix's columns, in order."""
        lags = [f"{column}__{age}_ago" for column, ages in self.lags.items() for age in ages]
        tsfresh = [feature_name(column, s) for column, names in self.calculators.items() for s in names]
        return [*self.known, *lags, *tsfresh]

    def with_levels(self, inputs: Inputs) -> FeatureDefinitions:
        """Return the same features with the category levels of these rows."""
        levels = {
            name: sorted({value for value in inputs.known[name] if value is not None})
            for name in self.known
            if inputs.known[name].dtype == object
        }
        return FeatureDefinitions.model_validate({**self.model_dump(), "levels": levels})


@cache
def feature_name(column: str, suffix: str) -> str:
    """Return the name of a tsfresh feature as a column: tsfresh's own without quotes, brackets and blanks.

    These characters are not allowed in names by H2O, by file formats or by metrics stores.
    """
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", re.sub(r'["() ]', "", suffix))
    return f"{column}__{plain}"


def compute(definitions: FeatureDefinitions, inputs: Inputs) -> FeatureMatrix:
    """Compute the features of n rows, each from its own row alone, so that one row gives the same bits as many.

    Missing past values are filled before tsfresh is called, forward and then backward. The features of a window without
    any value are NaN. So is a feature that is not a finite number, or that its calculator cannot compute for numerical
    reasons (in a constant window, for example): H2O's models accept missing values.

    Returns:
        (n, k) float64, columns in the order of `definitions.names`.
    """
    matrix = np.full((len(inputs), len(definitions.names)), np.nan)
    for position, name in enumerate(definitions.known):
        matrix[:, position] = _known(definitions, name, inputs.known[name])
    offset = len(definitions.known)
    for column, ages in definitions.lags.items():
        chosen = list(ages.values())
        matrix[:, offset : offset + len(chosen)] = fill_missing(inputs.history[column])[:, chosen]
        offset += len(chosen)
    for column, suffixes in definitions.calculators.items():
        block = matrix[:, offset : offset + len(suffixes)]
        _compute_windows(plan(tuple(suffixes)), inputs.history[column], block)
        offset += len(suffixes)
    return matrix


def to_frame(definitions: FeatureDefinitions, matrix: FeatureMatrix) -> pd.DataFrame:
    """Return a matrix as a frame with named columns; categories as dtype `category`, missing ones null."""
    columns: dict[str, Any] = {}
    for position, name in enumerate(definitions.names):
        values = matrix[:, position]
        if name in definitions.levels:
            levels = np.array([*definitions.levels[name], None], dtype=object)
            strings = levels[np.where(np.isnan(values), -1, values).astype(np.int64)]
            columns[name] = pd.Categorical(strings, categories=definitions.levels[name])
        else:
            columns[name] = values
    return pd.DataFrame(columns)


def _known(definitions: FeatureDefinitions, name: str, values: npt.NDArray[Any]) -> Floats:
    if name not in definitions.levels:
        return values.astype(np.float64, copy=False)
    codes = {level: float(code) for code, level in enumerate(definitions.levels[name])}
    return np.array([codes.get(value, np.nan) for value in values], dtype=np.float64)


# Windows


@dataclass(frozen=True)
class Call:
    """One call of one of tsfresh's calculators."""

    function: Callable[..., Any]
    parameters: list[dict[str, Any]] | None
    """For a combiner: the settings of all its features. None for other calculators."""
    arguments: dict[str, Any]
    """For other calculators: the keyword arguments. Empty for a combiner."""
    positions: dict[str, int]
    """Columns of the block that it fills, by the key of each result; `""` for a calculator with one result."""


@lru_cache(maxsize=64)
def plan(suffixes: tuple[str, ...]) -> tuple[Call, ...]:
    """Return the calls that compute these features, in the order in which the calculators first occur.

    Raises:
        ValueError: when tsfresh has no such calculator, or the calculator needs a time index.
    """
    import_tsfresh()
    from tsfresh.feature_extraction import feature_calculators

    single_threaded_algebra()
    calls: list[Call] = []
    combiners: dict[str, Call] = {}
    for position, suffix in enumerate(suffixes):
        calculator, parameters = parse_suffix(suffix)
        function = getattr(feature_calculators, calculator, None)
        if function is None or not hasattr(function, "fctype") or hasattr(function, "index_type"):
            raise ValueError(f"tsfresh has no calculator {calculator!r} that works on plain windows")
        if function.fctype != "combiner":
            calls.append(Call(function, None, parameters or {}, {"": position}))
            continue
        if calculator not in combiners:
            combiners[calculator] = Call(function, [], {}, {})
            calls.append(combiners[calculator])
        settings = combiners[calculator].parameters
        assert settings is not None
        settings.append(parameters or {})
        combiners[calculator].positions[suffix.removeprefix(calculator).removeprefix("__")] = position
    return tuple(calls)


@cache
def single_threaded_algebra() -> None:
    """Limit BLAS to one thread in this process, permanently.

    With more threads the bits of a result would depend on the number of cores. Windows are small, and threads mostly
    wait for each other: on busy cores a calculator takes ten times as long with them.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        library.set_num_threads(1)


@cache
def parse_suffix(suffix: str) -> tuple[str, dict[str, Any] | None]:
    """Return a feature's calculator and parameters, parsed from its name by tsfresh."""
    import_tsfresh()
    from tsfresh.feature_extraction.settings import from_columns

    ((calculator, parameters),) = from_columns([f"x__{suffix}"])["x"].items()
    return calculator, parameters[0] if parameters else None


def _compute_windows(calls: tuple[Call, ...], windows: Floats, block: FeatureMatrix) -> None:
    """Fill `block` (n, features) from `windows` (n, steps), row by row."""
    filled = fill_missing(windows)
    window = _aligned(windows.shape[1])
    with quiet():
        for row in np.flatnonzero(~np.isnan(filled[:, -1])) if filled.size else ():
            result = block[row]
            for call in calls:
                # copied into the same aligned memory, so that vectorised sums are the same in every process
                window[:] = filled[row]
                _apply(call, window, result)
    block[~np.isfinite(block)] = np.nan


def _apply(call: Call, window: Floats, result: Floats) -> None:
    try:
        if call.parameters is None:
            result[call.positions[""]] = call.function(window, **call.arguments)
            return
        for key, value in call.function(window, param=call.parameters):
            result[call.positions[key]] = value
    except (ArithmeticError, ValueError, IndexError, np.linalg.LinAlgError):
        # it cannot be computed for this window, neither in training nor in the service, so it is missing
        for position in call.positions.values():
            result[position] = np.nan


def fill_missing(windows: Floats) -> Floats:
    """Fill missing values of (n, steps) windows with the value before, leading ones with the first value."""
    missing = np.isnan(windows)
    if not missing.any():
        return windows
    rows = np.arange(len(windows))[:, None]
    steps = np.arange(windows.shape[1])
    last = np.maximum.accumulate(np.where(missing, 0, steps), axis=1)
    forward = windows[rows, last]
    first = np.argmin(missing, axis=1)[:, None]
    return np.where(np.isnan(forward), windows[rows, first], forward)


def _aligned(length: int) -> Floats:
    raw = np.empty(length * 8 + CACHE_LINE, dtype=np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + length * 8].view(np.float64)


_WARNINGS = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the calculators' warnings, as tsfresh's own extraction does."""
    with _WARNINGS, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
