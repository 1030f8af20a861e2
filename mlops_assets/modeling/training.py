"""The modeling assets' steps, without Dagster: select, compute, train and log, evaluate."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_assets.context import CHALLENGER, ProjectContext, RunArtifacts, Snapshot
from mlops_assets.errors import NotReady, Refused
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.ledger.facts import GateVerdict, VersionTrained
from mlops_assets.modeling.candidate import Candidate, train_candidate
from mlops_assets.modeling.comparison import ComparedVersion, evaluate
from mlops_assets.modeling.selection import select_features
from mlops_assets.modeling.training_session import Session
from mlops_assets.modeling.training_set import (
    TrainingSetFacts,
    holdout_features,
    holdout_frame,
    read_training_set,
    write_training_set,
)
from mlops_assets.prediction.features import FeatureDefinitions, compute
from mlops_assets.prediction.inputs import to_records
from mlops_assets.prediction.predictor import Origin, Predictor, write_bundle
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
    """One run's training: what its assets share.

    Args:
        project context: the project's resources.
        bench: the files of this run.
        training request: who asked for it.
    """

    context: ProjectContext
    artifacts: RunArtifacts
    training_request: TrainingRequest

    @cached_property
    def snapshot(self) -> Snapshot:
        """The dataset that this run snapped; for a lone asset, the newest one."""
        return Snapshot.model_validate_json(self.artifacts.find(SNAPSHOT, "dataset").read_text())

    @cached_property
    def session(self) -> Session:
        """The dataset, cut, with its hold-out; by hand and without unseen rows, as if nobody had to be beaten."""
        judging = self.judging
        alone = self.training_request.by == "hand" and judging.prepared.split.rows == 0
        return replace(judging, alone=True) if alone else judging

    @cached_property
    def judging(self) -> Session:
        """The same against the version that serves."""
        return Session(
            timeline=self.context.timeline,
            view=self.context.ledger_view(),
            dataset=self.context.snapshots.read(self.snapshot),
            answers=self._answers,
            bundle=self.context.versions.path,
            as_of=self.snapshot.as_of,
        )

    def _answers(self, start: datetime, end: datetime) -> pd.DataFrame:
        return self.context.telemetry.predictions(self.context.spec.name, start, end, roles=("champion", "shadow"))

    def select(self) -> FeatureDefinitions:
        """Which features exist, by tsfresh's relevance test on rows before the hold-out."""
        prepared, spec = self.session.prepared, self.context.spec
        seen = prepared.split.search
        definitions = select_features(
            spec.features,
            prepared.inputs.take(seen),
            prepared.target[seen],
            spec.problem.task,
            self.context.timeline.lags,
        )
        self.artifacts.put(DEFINITIONS, definitions.model_dump_json())
        return definitions

    def compute(self) -> TrainingSetFacts:
        """The selected features of all labelled rows, and of the hold-out from the inputs recorded with the answers."""
        definitions = FeatureDefinitions.model_validate_json(
            self.artifacts.find(DEFINITIONS, "feature_definitions").read_text()
        )
        prepared, holdout = self.session.prepared, self.session.holdout
        matrix = compute(definitions, prepared.inputs)
        with self.artifacts.writing(MATRIX) as path:
            write_training_set(path, matrix, holdout_features(definitions, holdout, matrix))
        facts = TrainingSetFacts(
            dataset=self.snapshot.md5,
            tag=self.snapshot.tag,
            as_of=self.snapshot.as_of,
            rows=len(prepared.times),
            holdout_rows=len(holdout),
            recorded=holdout.recorded,
            definitions=definitions,
        )
        self.artifacts.put(FACTS, facts.model_dump_json())
        return facts

    def train(self, dagster_run_id: str) -> tuple[VersionTrained, Candidate]:
        """Find the recipe, answer the hold-out, fit on all labelled rows, log, register; call within an MLflow run."""
        facts = TrainingSetFacts.model_validate_json(self.artifacts.find(FACTS, "training_set").read_text())
        held = len(self.session.holdout)
        if facts.dataset != self.snapshot.md5 or facts.holdout_rows != held:
            raise NotReady(
                self.context.spec.name,
                "training_set",
                f"it was made from {facts.tag} with {facts.holdout_rows} rows to judge on, the newest dataset is "
                f"{self.snapshot.tag}, with {held}",
                "materialize feature_definitions and training_set again",
            )
        matrix, holdout_matrix = read_training_set(self.artifacts.find(MATRIX, "training_set"))
        session, spec = self.session, self.context.spec
        with tempfile.TemporaryDirectory(dir=self.artifacts.own) as folder:
            candidate = train_candidate(
                spec, session.prepared, facts.definitions, matrix, holdout_matrix, self.context.cluster, Path(folder)
            )
            frame = holdout_frame(spec, session.prepared, session.holdout, candidate.holdout, candidate.one_fit)
            with self.artifacts.writing(HOLDOUT) as path:
                frame.to_parquet(path, index=False)
            evaluation, _ = evaluate(
                session.timeline, session.dataset, session.prepared, session.holdout, frame, self._champion(session)
            )
            bundle = Path(folder) / "bundle"
            write_bundle(
                bundle,
                self._origin(evaluation.candidate_loss),
                session.prepared.schema,
                facts.definitions,
                candidate.recipe.model_dump(mode="json"),
                candidate.mojo,
                candidate.jar,
                candidate.reference,
                session.prepared.inputs.take(session.prepared.split.usable),
            )
            version = self._register(bundle, candidate, facts, evaluation, dagster_run_id)
        self.artifacts.put(VERSION, version.model_dump_json())
        return version, candidate

    def evaluate(self, version: VersionTrained) -> tuple[Evaluation, pd.DataFrame]:
        """Judge a version's kept answers to the hold-out against the champion's and the baseline's.

        Raises:
            Refused: when there is nothing to judge it on: no unseen rows, or others than those it answered.
        """
        session = self.judging
        kept = pd.read_parquet(self._holdout_of(version))
        self._require_evaluable(version, session, set(kept["event_id"]))
        found, shown = evaluate(
            session.timeline,
            session.dataset,
            session.prepared,
            session.holdout,
            kept,
            self._champion(session),
            shadow=self._shadow(session),
            force=self.training_request.force,
        )
        rival = None if session.champion is None else session.champion.version
        if session.champion is not None and (lost := session.out_of_reach(session.champion)):
            asked = f"Version {session.champion.version} is asked with {', '.join(lost)}"
            found = replace(found, reasons=[*found.reasons, f"{asked}, which the YAML no longer declares so."])
        kept_json = {"version": version.version, "champion": rival, "judgement": asdict(found)}
        self.artifacts.put(EVALUATION, json.dumps(kept_json))
        return found, shown

    def own_version(self) -> VersionTrained | None:
        """The version that this very run trained."""
        path = self.artifacts.own / VERSION
        return VersionTrained.model_validate_json(path.read_text()) if path.exists() else None

    def hold(self, reason: str) -> None:
        """Record the verdict HOLD without a candidate: too early to judge, so nothing is paid for."""
        champion = self.session.champion
        verdict = GateVerdict(
            at=self.snapshot.as_of,
            training=self.training_request.training,
            by=self.training_request.by,
            verdict="HOLD",
            reasons=[reason],
            version=None,
            champion=None if champion is None else champion.version,
            rows=self.session.prepared.split.rows,
            as_of=self.snapshot.as_of,
            run_id=self.training_request.run_id,
        )
        ended = self.training_request.ended("JUDGED", self.snapshot.as_of, reason=reason)
        self.context.ledger.append(self.context.spec.name, verdict, ended)

    def _require_evaluable(self, version: VersionTrained, session: Session, answered: set[str]) -> None:
        rows = len(session.holdout)
        if rows and answered.issuperset(session.holdout.ids):
            return
        unseen = "there are no labelled rows that the champion has not seen"
        others = f"it did not answer all of the {rows} unseen rows of {self.snapshot.tag}"
        raise Refused(
            self.context.spec.name,
            f"version {version.version}",
            others if rows else unseen,
            "materialize dataset to candidate_model again, once more windows are labelled",
        )

    def _champion(self, session: Session) -> ComparedVersion | None:
        """Whom to beat: nobody but the baseline, where the one that serves cannot be asked any more."""
        champion = session.champion
        return None if champion is None or session.out_of_reach(champion) else self._rival(session, champion)

    def _shadow(self, session: Session) -> ComparedVersion | None:
        """Who goes on in the shadow of a candidate that is promoted."""
        kind, first = self.context.spec.serving.shadow, session.view.first_version
        if kind == "none" or session.champion is None or first is None:
            return None
        version = session.view.versions[first] if kind == "first" else session.champion
        return None if session.out_of_reach(version) else self._rival(session, version)

    @staticmethod
    def _rival(session: Session, version: VersionTrained) -> ComparedVersion:
        folder = session.bundle(version.version)
        return ComparedVersion(version.version, version.as_of, lambda: Predictor.load(folder))

    def _holdout_of(self, version: VersionTrained) -> Path:
        own = self.artifacts.own / HOLDOUT
        if own.exists():
            return own
        return self.context.registry.download_file(version.mlflow_run, HOLDOUT, self.artifacts.own)

    def _origin(self, loss: float) -> Origin:
        return Origin(
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
        schema = session.prepared.schema
        records = to_records(session.prepared.inputs.take([len(session.prepared.times) - 1]), schema)
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
