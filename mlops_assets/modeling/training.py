"""The steps of one training, without Dagster: select features, compute them, train and register, evaluate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_assets.context import CHALLENGER, ProjectContext, RunArtifacts, Snapshot
from mlops_assets.errors import NotReady, Refused
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.evaluation.result import EvaluationResult
from mlops_assets.ledger.facts import GateVerdict, VersionTrained
from mlops_assets.modeling.candidate import Candidate, train_candidate
from mlops_assets.modeling.comparison import ComparedVersion, evaluate
from mlops_assets.modeling.selection import select_features
from mlops_assets.modeling.training_session import TrainingSession
from mlops_assets.modeling.training_set import (
    TrainingSetFacts,
    holdout_features,
    holdout_frame,
    read_training_set,
    write_training_set,
)
from mlops_assets.prediction.bundle import ModelLineage
from mlops_assets.prediction.bundle_writer import write_bundle
from mlops_assets.prediction.features import FeatureDefinitions, compute
from mlops_assets.prediction.inputs import to_records
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.prediction.signature import input_example, signature
from mlops_assets.retraining.requests import TrainingRequest
from mlops_assets.timeline import iso

SNAPSHOT, DEFINITIONS, FACTS, MATRIX, VERSION, HOLDOUT, EVALUATION = (
    "snapshot.json",
    "feature_definitions.json",
    "training_set.json",
    "training_set.npz",
    "version.json",
    "holdout.parquet",
    "evaluation.json",
)


@dataclass(frozen=True)
class TrainingRun:
    """The training that belongs to a Dagster run; each asset of the run does one of its steps.

    Attributes:
        context: the project with its resources.
        artifacts: the files that the run's assets hand on.
        training_request: who requested the training, and which attempt it is.
    """

    context: ProjectContext
    artifacts: RunArtifacts
    training_request: TrainingRequest

    @cached_property
    def snapshot(self) -> Snapshot:
        """The training snapshot of this run; if it took none (an asset materialized alone), the newest one."""
        return Snapshot.model_validate_json(self.artifacts.find(SNAPSHOT, "dataset").read_text())

    @cached_property
    def session(self) -> TrainingSession:
        """The data to train on. A training by hand without unseen rows ignores the champion, to have a hold-out."""
        session = self.evaluation_session
        by_hand = self.training_request.by == "hand"
        return replace(session, without_champion=True) if by_hand and not session.training_data.split.rows else session

    @cached_property
    def evaluation_session(self) -> TrainingSession:
        """The data to evaluate on: its hold-out has only rows that the champion was not trained on."""
        return TrainingSession(
            timeline=self.context.timeline,
            view=self.context.ledger_view(),
            dataset=self.context.snapshots.read(self.snapshot),
            read_predictions=self._logged_predictions,
            bundle=self.context.versions.path,
            as_of=self.snapshot.as_of,
        )

    def _logged_predictions(self, start: datetime, end: datetime) -> pd.DataFrame:
        return self.context.telemetry.predictions(self.context.spec.name, start, end, roles=("champion", "shadow"))

    def select_features(self) -> FeatureDefinitions:
        """Select features by tsfresh's relevance test on rows before the hold-out; store and return them."""
        training_data, spec = self.session.training_data, self.context.spec
        search = training_data.split.search
        definitions = select_features(
            spec.features,
            training_data.inputs.take(search),
            training_data.target[search],
            spec.problem.task,
            self.context.timeline.lags,
        )
        self.artifacts.put(DEFINITIONS, definitions.model_dump_json())
        return definitions

    def compute_features(self) -> TrainingSetFacts:
        """Compute the selected features of all labelled rows, and of the hold-out from logged inputs; store them."""
        definitions = FeatureDefinitions.model_validate_json(
            self.artifacts.find(DEFINITIONS, "feature_definitions").read_text()
        )
        training_data, holdout = self.session.training_data, self.session.holdout
        matrix = compute(definitions, training_data.inputs)
        with self.artifacts.writing(MATRIX) as path:
            write_training_set(path, matrix, holdout_features(definitions, holdout, matrix))
        facts = TrainingSetFacts(
            dataset=self.snapshot.md5,
            tag=self.snapshot.tag,
            as_of=self.snapshot.as_of,
            rows=len(training_data.times),
            holdout_rows=len(holdout),
            recorded=holdout.recorded,
            definitions=definitions,
        )
        self.artifacts.put(FACTS, facts.model_dump_json())
        return facts

    def train(self, dagster_run_id: str) -> tuple[VersionTrained, Candidate]:
        """Train a candidate and register it as a model version with the alias `challenger`.

        It logs into the active MLflow run.

        Raises:
            NotReady: when the training set was made from another dataset or hold-out.
        """
        facts = TrainingSetFacts.model_validate_json(self.artifacts.find(FACTS, "training_set").read_text())
        holdout_rows = len(self.session.holdout)
        if facts.dataset != self.snapshot.md5 or facts.holdout_rows != holdout_rows:
            raise NotReady(
                self.context.spec.name,
                "training_set",
                f"it was made from {facts.tag} with {facts.holdout_rows} hold-out rows; the newest dataset is "
                f"{self.snapshot.tag}, with {holdout_rows}",
                "materialize feature_definitions and training_set again",
            )
        matrix, holdout_matrix = read_training_set(self.artifacts.find(MATRIX, "training_set"))
        session, spec = self.session, self.context.spec
        with tempfile.TemporaryDirectory(dir=self.artifacts.own) as folder:
            candidate = train_candidate(
                spec,
                session.training_data,
                facts.definitions,
                matrix,
                holdout_matrix,
                self.context.cluster,
                Path(folder),
            )
            frame = holdout_frame(spec, session.training_data, session.holdout, candidate.holdout, candidate.one_fit)
            with self.artifacts.writing(HOLDOUT) as path:
                frame.to_parquet(path, index=False)
            evaluation, _ = evaluate(
                session.timeline,
                session.dataset,
                session.training_data,
                session.holdout,
                frame,
                self._champion(session),
            )
            bundle = Path(folder) / "bundle"
            write_bundle(
                bundle,
                self._lineage(evaluation.candidate_loss),
                session.training_data.schema,
                facts.definitions,
                candidate.recipe.model_dump(mode="json"),
                candidate.mojo,
                candidate.jar,
                candidate.reference,
                session.training_data.inputs.take(session.training_data.split.usable),
            )
            version = self._register(bundle, candidate, facts, evaluation, dagster_run_id)
        self.artifacts.put(VERSION, version.model_dump_json())
        return version, candidate

    def evaluate(self, version: VersionTrained) -> tuple[Evaluation, pd.DataFrame]:
        """Compare a version's stored hold-out predictions with the champion's and the baseline's.

        Returns:
            The evaluation, and a frame (event_time, label, candidate, champion if there is one, baseline) for charts.

        Raises:
            Refused: when there are no unseen rows, or the version has no prediction for some of them.
        """
        session = self.evaluation_session
        stored = pd.read_parquet(self._holdout_of(version))
        self._require_evaluable(version, session, set(stored["event_id"]))
        evaluation, shown = evaluate(
            session.timeline,
            session.dataset,
            session.training_data,
            session.holdout,
            stored,
            self._champion(session),
            shadow=self._shadow(session),
            force=self.training_request.force,
        )
        champion = session.champion
        if champion is not None and (undeclared := session.undeclared_inputs(champion)):
            text = (
                f"Compared with the baseline only: version {champion.version} takes {', '.join(undeclared)}, "
                "which defs.yaml no longer declares in that way."
            )
            evaluation = replace(evaluation, reasons=[*evaluation.reasons, text])
        result = EvaluationResult(
            version=version.version, champion=None if champion is None else champion.version, evaluation=evaluation
        )
        self.artifacts.put(EVALUATION, result.to_json())
        return evaluation, shown

    def own_version(self) -> VersionTrained | None:
        """Return the version that this run has trained; None before it has."""
        path = self.artifacts.own / VERSION
        return VersionTrained.model_validate_json(path.read_text()) if path.exists() else None

    def record_hold(self, reason: str) -> None:
        """Record the verdict HOLD without training a candidate, since none could be evaluated."""
        champion = self.session.champion
        verdict = GateVerdict(
            at=self.snapshot.as_of,
            training=self.training_request.training,
            by=self.training_request.by,
            verdict="HOLD",
            reasons=[reason],
            version=None,
            champion=None if champion is None else champion.version,
            rows=self.session.training_data.split.rows,
            as_of=self.snapshot.as_of,
            run_id=self.training_request.run_id,
        )
        ended = self.training_request.ended("JUDGED", self.snapshot.as_of, reason=reason)
        self.context.ledger.append(self.context.spec.name, verdict, ended)

    def _require_evaluable(self, version: VersionTrained, session: TrainingSession, predicted: set[str]) -> None:
        rows = len(session.holdout)
        if rows and predicted.issuperset(session.holdout.ids):
            return
        no_rows = "there are no labelled rows that the champion was not trained on"
        unpredicted = f"it has no predictions for some of the {rows} unseen rows of {self.snapshot.tag}"
        raise Refused(
            self.context.spec.name,
            f"version {version.version}",
            unpredicted if rows else no_rows,
            "materialize the assets from dataset to candidate_model again when more windows are labelled",
        )

    def _champion(self, session: TrainingSession) -> ComparedVersion | None:
        """Return the champion to compare with; None without one, or if it takes inputs that are no longer declared."""
        champion = session.champion
        return None if champion is None or session.undeclared_inputs(champion) else self._compared(session, champion)

    def _shadow(self, session: TrainingSession) -> ComparedVersion | None:
        """Return the version that will run in shadow if the candidate is promoted; None without one."""
        kind, first = self.context.spec.serving.shadow, session.view.first_version
        if kind == "none" or session.champion is None or first is None:
            return None
        version = session.view.versions[first] if kind == "first" else session.champion
        return None if session.undeclared_inputs(version) else self._compared(session, version)

    @staticmethod
    def _compared(session: TrainingSession, version: VersionTrained) -> ComparedVersion:
        folder = session.bundle(version.version)
        return ComparedVersion(version.version, version.as_of, lambda: Predictor.load(folder))

    def _holdout_of(self, version: VersionTrained) -> Path:
        own = self.artifacts.own / HOLDOUT
        if own.exists():
            return own
        return self.context.registry.download_file(version.mlflow_run, HOLDOUT, self.artifacts.own)

    def _lineage(self, loss: float) -> ModelLineage:
        return ModelLineage(
            as_of=self.snapshot.as_of,
            trained_through=self.snapshot.trained_through,
            dataset=self.snapshot.md5,
            dataset_tag=self.snapshot.tag,
            code_version=self.context.code_version,
            training=self.training_request.training,
            decision=self.training_request.decision,
            holdout_loss=loss,
        )

    def _register(
        self, bundle: Path, candidate: Candidate, facts: TrainingSetFacts, evaluation: Evaluation, dagster_run_id: str
    ) -> VersionTrained:
        registry, spec, session = self.context.registry, self.context.spec, self.session
        predictor = Predictor.load(bundle)
        schema = session.training_data.schema
        records = to_records(session.training_data.inputs.take([len(session.training_data.times) - 1]), schema)
        registry.log_dataset(session.dataset, f"dvc tag {facts.tag}", spec.name, facts.dataset)
        leaderboard = self.artifacts.own / "leaderboard.csv"
        candidate.leaderboard.to_csv(leaderboard, index=False)
        registry.log_run(
            self._params(candidate, facts),
            {
                "training": self.training_request.training,
                "asked by": self.training_request.by,
                "code_version": self.context.code_version,
                "dataset": facts.dataset,
                "dataset_tag": facts.tag,
            },
            [self.artifacts.own / HOLDOUT, leaderboard],
        )
        number, run_id, _ = registry.log_version(
            bundle,
            signature(schema),
            input_example(schema, records),
            {"holdout_loss": evaluation.candidate_loss, "baseline_loss": evaluation.baseline_loss},
            {
                "dataset": facts.dataset,
                "dataset_tag": facts.tag,
                "training": self.training_request.training,
                "dagster_run_id": dagster_run_id,
                **({"decision": self.training_request.decision} if self.training_request.decision else {}),
            },
        )
        version = VersionTrained(
            at=self.snapshot.as_of,
            version=number,
            training=self.training_request.training,
            decision=self.training_request.decision,
            as_of=self.snapshot.as_of,
            trained_through=self.snapshot.trained_through,
            dataset=facts.dataset,
            dataset_tag=facts.tag,
            mlflow_run=run_id,
            digest=predictor.manifest.digest,
            columns=schema.columns,
            holdout_loss=evaluation.candidate_loss,
            metric=spec.problem.metric,
            reference_rows=len(candidate.reference),
            rows=facts.rows,
        )
        predictor.close()
        self.context.versions.put(number, bundle)
        self.context.ledger.append(spec.name, version)
        registry.set_alias(CHALLENGER, number)
        return version

    def _params(self, candidate: Candidate, facts: TrainingSetFacts) -> Mapping[str, Any]:
        return {
            "algorithm": candidate.recipe.algorithm,
            **{f"recipe.{key}": value for key, value in candidate.recipe.parameters.items()},
            "rows": facts.rows,
            "holdout_rows": facts.holdout_rows,
            "features": len(facts.definitions.names),
            "models tried": candidate.models,
            "as_of": iso(self.snapshot.as_of),
            "trained_through": iso(self.snapshot.trained_through),
        }
