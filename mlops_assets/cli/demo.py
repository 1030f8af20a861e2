"""`demo`: replays bike_demand from the first model until a retraining has improved the predictions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pandas as pd
from rich.console import Console
from rich.table import Table

from mlops_assets.cli.bootstrap import bootstrap, find_run, start_platform, wait_for_interrupt
from mlops_assets.cli.instance import instance_of
from mlops_assets.cli.processes import Started, end_recorded
from mlops_assets.cli.projects import project_context_of, repository_settings
from mlops_assets.cli.replay import play
from mlops_assets.cli.status import first_retrained_as_of, live_loss, windows_table
from mlops_assets.errors import PlatformError
from mlops_assets.ledger.facts import RetrainingHeld
from mlops_assets.ledger.view import LedgerView
from mlops_assets.monitoring.curves import error_curve

PROJECT = "bike_demand"
EFFECT_WINDOWS = 8
"""Scored weeks after the promotion over which its effect is measured."""
EFFECT = 0.15
"""Least share by which the served loss must be below the first model's."""
SENSOR_TAG = "dagster/sensor_name"


class Demo:
    """One demonstration.

    Args:
        console: where progress and results are printed.
        hold: replay with retraining on hold.
        most: stop after this many weeks without an effect.
        stay: keep everything running at the end until Ctrl-C.
    """

    def __init__(self, console: Console, *, hold: bool, most: int, stay: bool) -> None:
        self.console, self.hold, self.most, self.stay = console, hold, most, stay
        self.settings = repository_settings()
        self.context = project_context_of(self.settings, PROJECT)
        self.phases: list[tuple[str, float]] = []

    def play(self) -> int:
        """Play, and return the exit status: 0 if the loop retrained by itself and the loss fell by at least `EFFECT`.

        Raises:
            PlatformError: the state folder holds a project that was played already, or the bootstrap fails.
        """
        if self.context.ledger_view().deployment_periods:
            raise PlatformError(
                PROJECT,
                str(self.settings.home),
                "this state folder already holds the results of an earlier run",
                "run `mlops-assets down` and remove the folder, or set MLOPS_ASSETS_HOME to an empty one",
            )
        try:
            with self._phase("start Dagster and MLflow"):
                dagster, mlflow = start_platform(self.settings, self.context)
            with instance_of(self.settings) as instance:
                with self._phase("bootstrap: publish history, feasibility, first model, endpoint"):
                    bootstrap(self.settings, self.context, instance, dagster, self.console)
                if self.hold:
                    self.context.ledger.append(PROJECT, RetrainingHeld(at=self.context.now(), held=True, number=0))
                self._weeks(instance)
                problems = self._problems(instance)
            self._report(dagster, mlflow, problems)
            if self.stay:
                wait_for_interrupt(self.console)
        finally:
            end_recorded(self.settings.pids)
            self.context.endpoint.stop()
        return 1 if problems else 0

    def _weeks(self, instance: dg.DagsterInstance) -> None:
        effect_begun: int | None = None
        for week in range(1, self.most + 1):
            with self._phase(f"week {week}", quiet=True):
                play(self.context, instance, self.console, 1, None)
            view = self.context.ledger_view()
            if effect_begun is None and self._has_effect_to_show(view):
                effect_begun = week
                self.console.print(self._promotion_line(view), highlight=False)
            if effect_begun is not None and week >= effect_begun + EFFECT_WINDOWS:
                return

    def _has_effect_to_show(self, view: LedgerView) -> bool:
        """Return whether a retrained version was deployed; on hold: whether a trigger has become active."""
        if self.hold:
            return any(d.evidence and not _only_age(d.evidence) for d in view.decisions)
        return first_retrained_as_of(view) is not None

    def _promotion_line(self, view: LedgerView) -> str:
        if self.hold:
            return "[yellow]a retraining would have started here; it is on hold[/]"
        verdict = [v for v in view.verdicts if v.verdict == "PROMOTE"][-1]
        return f"[green]version {verdict.version} is deployed:[/] {' '.join(verdict.reasons)}"

    # Results

    def _problems(self, instance: dg.DagsterInstance) -> list[str]:
        """Return why the demonstration failed; empty if the policy started a retraining that lowered the loss."""
        view, found = self.context.ledger_view(), []
        as_of = first_retrained_as_of(view)
        if as_of is None:
            return ["no retrained version was deployed"]
        period = next(period for period in view.deployment_periods if period.cause == "retraining")
        training = view.versions[period.version].training
        started = next(f for f in view.started_trainings if f.training == training)
        decision = view.decision(started.decision) if started.decision else None
        if decision is None or decision.by != "policy" or not decision.evidence or _only_age(decision.evidence):
            found.append("the retraining was not triggered by drift or degradation")
        run = find_run(instance, PROJECT, started.run_id)
        if run.tags.get(SENSOR_TAG) != f"{PROJECT}_retraining":
            found.append("the retraining was not launched by the sensor")
        if not any(v.training == training and v.verdict == "PROMOTE" and not v.forced for v in view.verdicts):
            found.append("the gate did not promote it")
        serving = self.context.endpoint.serving()
        if view.deployment_period is None or serving != view.deployment_period.version:
            found.append(f"the endpoint serves version {serving}, not the champion")
        loss = live_loss(self.context, view)
        if loss is None or loss["windows"] < EFFECT_WINDOWS:
            found.append(f"only {0 if loss is None else loss['windows']} weeks were scored since")
        elif loss["served"] > (1 - EFFECT) * loss["first_model"]:
            found.append(
                f"the loss since the promotion is {1 - loss['served'] / loss['first_model']:.1%} below "
                f"the first model's; {EFFECT:.0%} is required"
            )
        return found

    def _report(self, dagster: Started, mlflow: str, problems: list[str]) -> None:
        view = self.context.ledger_view()
        weeks = windows_table(self.context, view)
        self.console.print(_weeks_table(weeks, self.context.spec.problem.metric))
        picture = self.settings.home / "demo.png"
        picture.write_bytes(error_curve(self.context.timeline, view))
        loss = live_loss(self.context, view)
        if loss is not None:
            gain = 1 - loss["served"] / loss["first_model"]
            self.console.print(
                f"since the first retraining ({loss['windows']} weeks): served {loss['served']:.1f}, "
                f"first model {loss['first_model']:.1f}, baseline {loss['baseline']:.1f}: "
                f"{gain:.1%} below the first model",
                highlight=False,
            )
        self.console.print(_phases_table(self.phases))
        for name, where in (
            ("Dagster", dagster.url),
            ("MLflow", mlflow),
            ("endpoint", self.context.endpoint.url),
            ("picture", picture),
        ):
            self.console.print(f"{name:>9}: {where}", highlight=False)
        for problem in problems:
            self.console.print(f"[bold red]not shown:[/] {problem}", highlight=False)

    @contextmanager
    def _phase(self, name: str, quiet: bool = False) -> Iterator[None]:
        if not quiet:
            self.console.rule(name, align="left")
        begun = time.monotonic()
        yield
        self.phases.append((name, time.monotonic() - begun))


def _only_age(evidence: list) -> bool:  # type: ignore[type-arg]
    return all(item.signal.startswith("age") for item in evidence)


def _weeks_table(weeks: pd.DataFrame, metric: str) -> Table:
    table = Table(
        "week",
        "served",
        "first model",
        "baseline",
        "version",
        "decision",
        "signal",
        title=f"{metric} per week",
        title_justify="left",
    )
    for row in weeks.to_dict("records"):
        losses = ["-" if pd.isna(row[name]) else f"{row[name]:.1f}" for name in ("served", "shadow", "baseline")]
        version = "-" if pd.isna(row["version"]) else f"v{int(row['version'])}"
        table.add_row(row["window"].date().isoformat(), *losses, version, row["decision"] or "-", row["signals"] or "-")
    return table


def _phases_table(phases: list[tuple[str, float]]) -> Table:
    weekly = [seconds for name, seconds in phases if name.startswith("week")]
    table = Table("phase", "s", title="duration of each phase", title_justify="left")
    for name, seconds in phases:
        if not name.startswith("week"):
            table.add_row(name, f"{seconds:.0f}")
    if weekly:
        ordered = sorted(weekly)
        table.add_row(f"{len(weekly)} weeks", f"{sum(weekly):.0f}")
        table.add_row("a week, median", f"{ordered[len(ordered) // 2]:.0f}")
        table.add_row("a week, longest (with a retraining)", f"{ordered[-1]:.0f}")
    table.add_row("all", f"{sum(seconds for _, seconds in phases):.0f}")
    return table
