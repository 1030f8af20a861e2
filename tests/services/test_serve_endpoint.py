"""`mlops-assets serve endpoint`: it starts with the versions of ledger and registry, or with those it served last."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from bundles import Version, Versions

from mlops_assets.cli.endpoint import configure
from mlops_assets.errors import LedgerUnreachable, ModelError, RegistryError
from mlops_assets.ledger.facts import PromotionStep, VersionTrained
from mlops_assets.ledger.store import Ledger
from mlops_assets.prediction.bundle import MANIFEST
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.scoring.config import ServiceConfig, fingerprint
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.tracking.model_download import ModelArtifacts

ROOT = Path(__file__).parents[2]
NOW = datetime(2011, 3, 1, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path, within: float = 120) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            httpx.get(url, timeout=5, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"{url} does not answer: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def mlflow_url(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server that serves artifacts; versions 1 and 2 of `rentals` are registered there."""
    folder, url = tmp_path_factory.mktemp("mlflow"), f"http://127.0.0.1:{(port := free_port())}"
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "a")]
    where = ["--serve-artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *stores, *where],
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_it_answers(f"{url}/health", server, log)
        _register(url, [versions["rentals"][number] for number in (1, 2)], folder)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def _register(url: str, versions: list[Version], folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about type hints and requirements
        import mlflow

        from mlops_assets.prediction.signature import input_example, signature
        from mlops_assets.resources.tracking.registry import Registry

        mlflow.set_tracking_uri(url)
        registry = Registry(url, "rentals")
        mlflow.set_experiment(registry.ensure_experiment())
        for version in versions:
            # a training's bundle has this name
            bundle = Path(shutil.copytree(version.folder, folder / version.folder.name / "bundle"))
            with mlflow.start_run():
                example = input_example(version.schema, version.records[:2])
                registry.log_version(bundle, signature(version.schema), example, {}, {})


@pytest.fixture
def home(tmp_path: Path, rentals: dict[int, Version]) -> Settings:
    """A state folder with only a ledger, in which version 1 was promoted first and version 2 is the champion."""
    settings = Settings(home=tmp_path / "home")
    ledger = Ledger(settings.ledger)
    for number in (1, 2):
        manifest = json.loads((rentals[number].folder / MANIFEST).read_text())
        ledger.append(
            "rentals",
            VersionTrained(
                at=NOW,
                version=number,
                training=f"t{number}",
                decision=None,
                as_of=rentals[number].as_of,
                trained_through=rentals[number].as_of,
                dataset=manifest["dataset"],
                dataset_tag="tag",
                mlflow_run="run",
                digest=_digest(rentals[number]),
                columns=[],
                holdout_loss=1.0,
                reference_rows=50,
                rows=100,
            ),
            PromotionStep(
                at=NOW.replace(day=number),
                promotion=f"p{number}",
                step="PROMOTED",
                version=number,
                previous=None if number == 1 else 1,
                cause="bootstrap" if number == 1 else "retraining",
            ),
        )
    return settings


def _digest(version: Version) -> str:
    from mlops_assets.prediction.bundle import Manifest

    return Manifest.model_validate_json((version.folder / MANIFEST).read_text()).digest


def with_mlflow(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"mlflow_url": url})


def test_service_starts_with_versions_of_ledger_and_registry(
    home: Settings, mlflow_url: str, rentals: dict[int, Version]
) -> None:
    path = configure(rentals[1].spec, with_mlflow(home, mlflow_url), "127.0.0.1", 0)
    config = ServiceConfig.model_validate_json(path.read_text())
    assert config.serve is not None and config.shadow is not None
    assert (config.serve.version, config.shadow.version) == (2, 1)
    for kept, number in ((config.serve, 2), (config.shadow, 1)):
        names = {p.relative_to(kept.folder): p.read_bytes() for p in kept.folder.rglob("*") if p.is_file()}
        folder = rentals[number].folder
        assert names == {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_runs_recognize_the_service_of_their_project(
    home: Settings, mlflow_url: str, rentals: dict[int, Version]
) -> None:
    """A run does not restart a service that has the same settings."""
    settings = with_mlflow(home, mlflow_url)
    path = configure(rentals[1].spec, settings, settings.host, 8080)
    handle = ProjectResources(rentals[1].spec, settings).endpoint
    assert isinstance(handle, EndpointProcess)
    with handle:
        assert handle.folder == path.parent
        wanted = handle._config(None, None)
    assert fingerprint(ServiceConfig.model_validate_json(path.read_text())) == fingerprint(wanted)


def test_without_ledger_or_registry_the_last_served_version_starts(
    home: Settings, mlflow_url: str, rentals: dict[int, Version], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = rentals[1].spec
    absent = f"http://127.0.0.1:{free_port()}"
    # there is no local copy yet: the error names the server
    with pytest.raises(RegistryError, match="could not be reached"):
        configure(spec, with_mlflow(home, absent), "127.0.0.1", 0)
    before = configure(spec, with_mlflow(home, mlflow_url), "127.0.0.1", 0).read_text()
    # local copies were checked at their download and need no registry
    assert configure(spec, with_mlflow(home, absent), "127.0.0.1", 0).read_text() == before
    lost = home.model_copy(update={"database_url": f"postgresql://mlops@127.0.0.1:{free_port()}/none"})
    with caplog.at_level(logging.WARNING):
        assert configure(spec, lost, "127.0.0.1", 0).read_text() == before
    assert "starts with the versions that it served last" in caplog.text
    empty = lost.model_copy(update={"home": tmp_path / "elsewhere"})
    with pytest.raises(LedgerUnreachable, match="MLOPS_ASSETS_DATABASE_URL"):
        configure(spec, empty, "127.0.0.1", 0)


def test_bundle_with_another_digest_is_not_served(home: Settings, mlflow_url: str, rentals: dict[int, Version]) -> None:
    other = Settings(home=home.home.with_name("other"))
    ledger, spec = Ledger(other.ledger), rentals[1].spec
    facts = Ledger(home.ledger).view("rentals")
    for fact in facts.versions.values():
        ledger.append("rentals", fact.model_copy(update={"digest": "0" * 64}))
    ledger.append(
        "rentals", PromotionStep(at=NOW, promotion="p", step="PROMOTED", version=2, previous=None, cause="hand")
    )
    with pytest.raises(ModelError, match="digest"):
        configure(spec, with_mlflow(other, mlflow_url), "127.0.0.1", 0)


def test_download_without_mlflow_gives_the_same_bundle(
    mlflow_url: str, tmp_path: Path, rentals: dict[int, Version]
) -> None:
    fetched = ModelArtifacts(mlflow_url, "rentals").download(2, tmp_path)
    assert _digest(Version(rentals[2].spec, fetched, NOW, rentals[2].schema, rentals[2].inputs)) == _digest(rentals[2])
    with pytest.raises(RegistryError, match="404"):
        ModelArtifacts(mlflow_url, "rentals").download(77, tmp_path / "other")


def test_serve_endpoint_starts_the_service_and_ends_on_sigterm(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-c", "from mlops_assets.cli import app; app()", "serve", "endpoint", "bike_demand"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "MLOPS_ASSETS_HOME": str(tmp_path / "home")},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(f"{url}/livez", process, log)
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        waiting = httpx.get(f"{url}/readyz", trust_env=False)
        assert (waiting.status_code, waiting.json()["ready"]) == (503, False)
        assert httpx.get(f"{url}/status", trust_env=False).json()["pid"] == process.pid
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert all("message" in json.loads(line) for line in log.read_text().splitlines())


def test_start_imports_neither_dagster_nor_mlflow_nor_pyarrow() -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mlops_assets.cli import app\n"
        "from mlops_assets.cli import endpoint, projects\n"
        "from mlops_assets.resources.settings import Settings\n"
        "projects.spec_of(Settings(), 'bike_demand')\n"
        "import mlops_assets.serving.app\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'dagster', 'mlflow', 'h2o', 'evidently'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
