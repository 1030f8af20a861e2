"""A few points of every measurement, written by hand, for tests of dashboards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from mlops_assets.spec import ProjectSpec

Point = tuple[str, dict[str, str], dict[str, Any], datetime]
"""(measurement, tags, fields, time)."""
STEPS = 48
MODEL = {"model_version": "2"}


def points(spec: ProjectSpec, start: datetime, now: datetime) -> Iterator[Point]:
    """Return points of a project's first days.

    Args:
        spec: the project.
        start: start of the project's time.
        now: the present system time, for the forwarder's own points.
    """
    for measurement, tags, values, time in (*_service(spec, start), *_loop(spec, start), *_forwarder(now)):
        yield measurement, {"project": spec.name, **tags}, values, time


def _service(spec: ProjectSpec, start: datetime) -> Iterator[Point]:
    entities = [{"entity": name} for name in ("north", "south")] if spec.data.entity else [{}]
    for step in range(STEPS):
        time = start + step * spec.data.every
        status = "500" if step == 7 else "422" if step == 8 else "200"
        request_fields = {"latency_ms": 2.0 + step % 5, "rows": 1, "rss": 300 * 2**20, "record": "{}"}
        yield "request", {"role": "champion", "status": status}, request_fields, time
        for entity in entities:
            for role in ("champion", "shadow"):
                tags = {"role": role, **MODEL, "dataset_version": "abc", **entity}
                yield "answer", tags, _prediction(spec, step), time
            yield "feature", {**tags, "role": "champion"}, _features(spec, step), time
            yield "truth", entity, {"label": _class(spec, step)} if spec.classes else {"value": 10.0 + step}, time


def _prediction(spec: ProjectSpec, step: int) -> dict[str, Any]:
    common = {"event_id": f"e{step}", "late": False, "entity_known": True, "record": "{}"}
    if not spec.classes:
        return {**common, "prediction": 11.0 + step}
    return {**common, "label": _class(spec, step), **{f"probability_{name}": 0.5 for name in spec.classes}}


def _class(spec: ProjectSpec, step: int) -> str:
    return spec.classes[step // 5 % len(spec.classes)]


def _features(spec: ProjectSpec, step: int) -> dict[str, Any]:
    category = {name for name in spec.features.known if spec.data.columns[name].dtype == "category"}
    return {name: "clear" if name in category else float(step) for name in spec.features.known} | {"cnt__mean": 1.5}


def _loop(spec: ProjectSpec, start: datetime) -> Iterator[Point]:
    statistic, metric = spec.monitoring.drift.statistic, spec.problem.metric
    for window in range(2):
        time = start + window * timedelta(hours=20)
        for stage in ("ended", "labelled"):
            tags = {"stage": stage, **MODEL}
            far = {"distance": 0.3, "threshold": 0.1}
            yield "drift", {"column": "temp", "statistic": statistic, **tags}, far, time
            yield "drift", {"column": "prediction", "statistic": "psi", **tags}, {"distance": 0.2}, time
            share = {"verdict": "drift", "share": 0.5 if stage == "labelled" else 0.4, "threshold": 0.5, "rows": 100}
            yield "drift_report", tags, share, time
            losses = {"served": 5.0, "reign": 5.0, "shadow": 6.0, "baseline": 9.0, "rows": 100}
            gains = {"realised_gain": 0.2, "promised_gain": 0.3}
            pending = {"pending": True, "rows": 0}
            measured = {"pending": False, **losses, **gains} if stage == "labelled" else pending
            yield "performance", {"metric": metric, **tags}, measured, time
            did = {"requests": 20, "errors": 1, "late": 0, "missed": 1, "availability": 0.95}
            speed = {"p50_ms": 2.0, "p95_ms": 6.0, "p99_ms": 7.0, "memory_mb": 300.0}
            yield "health", tags, did | speed, time
    later = start + timedelta(hours=21)
    decided = {"id": "d1", "reason": "the loss has grown", "window": "w", "signals": "performance:holdout"}
    yield "decision", {"outcome": "RETRAIN", "by": "policy"}, decided, later
    yield "decision", {"outcome": "WAIT", "by": "policy"}, decided | {"id": "d0"}, later - timedelta(hours=1)
    yield "training", {"outcome": "JUDGED", "by": "policy"}, {"training": "d1:1", "reason": "judged"}, later
    sides = {"champion_loss": 5.0, "candidate_loss": 4.0, "baseline_loss": 9.0, "rows": 300}
    verdict_fields = {"version": 2, "champion": 1, **sides, "reason": "better by 20 %"}
    yield "verdict", {"verdict": "PROMOTE", "by": "policy"}, verdict_fields, later
    for number, step in enumerate(("PROMOTING", "PROMOTED")):
        moment = later + timedelta(microseconds=number)
        served = {"version": 2, "previous": 1, "reason": "better"}
        yield "promotion", {"step": step, "cause": "retraining"}, served, moment
    yield "promotion", {"step": "PROMOTED", "cause": "bootstrap"}, {"version": 1, "reason": "the first"}, start
    yield "missed", {}, {"event_id": "e9", "reason": "the row was absent"}, start
    yield "quarantined", {"table": "raw_data"}, {"reason": "hum is above 1"}, start


def _forwarder(now: datetime) -> Iterator[Point]:
    for source in ("answers", "requests", "ledger"):
        yield "forwarder", {"source": source}, {"backlog": 3, "written": 100, "oldest_s": 1.5}, now
