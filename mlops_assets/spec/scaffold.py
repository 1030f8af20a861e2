"""The commented example project that `dg scaffold defs mlops_assets.MLProject NAME` writes."""

from __future__ import annotations

from string import Template

EXAMPLE_SOURCE = '''"""Reads the rows of the project."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd


def read(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the rows with start <= time < end (aware UTC times). Replace this artificial series with your data."""
    first = start.replace(minute=0, second=0, microsecond=0)
    times = pd.date_range(first if first == start else first + timedelta(hours=1), end, freq="h", inclusive="left")
    hours = times.hour.to_numpy()
    noise = np.sin(times.asi8 / 3.6e12 * 12.9898) * 5
    value = 100 + 40 * np.sin(hours / 24 * 2 * np.pi) + noise
    return pd.DataFrame({"timestamp": times, "hour": hours, "value": value})
'''

EXAMPLE_YAML = Template("""\
# One project: what is predicted, from which data, and when it is retrained.
# docs/project.md of mlops-assets explains every field; `dg check yaml FOLDER` names the line of a mistake.
type: mlops_assets.MLProject

attributes:
  name: $name
  owners: [team:someone]                  # team:name or an e-mail address
  clock: {type: wall}                     # or {type: replay, start: 2024-04-01}, to replay past data

  problem:
    statement: What is predicted, for whom, and what they do with it.
    task: regression                      # or classification
    target: value
    metric: mae                           # the metric that decides
    baseline: {type: seasonal_naive, season: 168h}   # the prediction that a model must beat
    success: {better_than_baseline_by: 0.05}
    validation: {strategy: last, holdout: 14d}       # the newest rows, held out to evaluate the model

  data:
    source: $package.$name.source.read   # read(start, end) -> DataFrame
    time: timestamp
    time_zone: UTC
    every: 1h                             # the step of the series
    start: 2024-01-01                     # start of the data
    window: week                          # rows are published and reported window by window
    horizon: 24h                          # how long before its event a prediction is due
    columns:
      hour: {dtype: int, ge: 0, le: 23}
      value: {dtype: float}

  labels: {delay: 0h}                     # time from when a row can be read until its label is known

  features:
    known: [hour]                         # known when a prediction is due
    history: {columns: [value], length: 168h}   # past values, summarised by tsfresh
    calculators: efficient
    select: {sample: 300, fdr: 0.05, most: 40, budget: 1ms}

  training: {type: h2o_automl, max_models: 6, seed: 1}
  promotion: {margin: 0.02, min_rows: 300}
  serving: {every: 1h}

  retraining:
    when:
      type: any
      of:
        - {type: performance, ratio: 1.3}
        - {type: drift, signal: prediction, statistic: psi, threshold: 0.2, for: 2}
        - {type: age, max: 90d}
    cooldown: 28d                         # at least hold-out + horizon + every + delays + one window
""")


def example_yaml(name: str, package: str = "mlops_assets.projects") -> str:
    """Return a valid `defs.yaml` for a new project of that name."""
    return EXAMPLE_YAML.substitute(name=name, package=package)
