"""A state folder of release 0.1.0 opens with the present code, shows its status, and the loop goes on with it.

The state is that of the simulated project in `tide.py`: bootstrapped as of 21 January 2020, six days played, and a
RETRAIN decided that no run has acted on. It was made in another folder, and some files that can be made again are not
in the archive.
"""

import json
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2o
import pytest
import tide
from harness import Harness

from mlops_assets.cli.status import ProjectStatus, project_status
from mlops_assets.prediction.digests import sha256
from mlops_assets.spec import ProjectSpec

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "state_0.1.0.tar.xz"
WINDOWS_PLAYED_ON = 2
pytestmark = [pytest.mark.xdist_group("compatibility"), pytest.mark.timeout(600)]

ADDED_KEYS = {"report health": {".summary.lost"}}
"""Keys that later releases store and 0.1.0 did not, by kind of fact."""

Row = tuple[str, str, str, str]
"""Kind, key, time and body of a stored fact."""


def unpack(home: Path) -> None:
    """Unpack the state, and copy H2O's scoring library, which the archive leaves out, next to each MOJO."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    jar = home.with_name("h2o-genmodel.jar")
    with zipfile.ZipFile(Path(h2o.__file__).parent / "backend" / "bin" / "h2o.jar") as installed:
        jar.write_bytes(installed.read("www/3/h2o-genmodel.jar"))
    mojos = sorted(home.rglob("mojo.zip"))
    assert len(mojos) == 2
    for mojo in mojos:
        manifest = json.loads((mojo.parent / "manifest.json").read_text())
        assert manifest["digests"]["genmodel.jar"] == sha256(jar), "the state was made with another release of H2O"
        shutil.copy(jar, mojo.parent / "genmodel.jar")


def stored_facts(home: Path) -> list[Row]:
    with sqlite3.connect(home / "ledger.db") as connection:
        return list(connection.execute("SELECT kind, key, at, body FROM facts ORDER BY id"))


def keys_by_kind(facts: list[Row]) -> dict[str, set[str]]:
    """Return the keys of the stored bodies as dotted paths, by kind and report, without windows and columns as keys."""
    found: dict[str, set[str]] = {}
    for kind, _, _, text in facts:
        body = json.loads(text)
        found.setdefault(f"{kind} {body.get('report', '')}".strip(), set()).update(key_paths(body))
    return found


def key_paths(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from key_paths(item, prefix)
    elif isinstance(value, dict):
        for key, inner in value.items():
            path = f"{prefix}.*" if key[:1].isdigit() else f"{prefix}.{key}"
            yield path
            yield from key_paths(inner, path)


@dataclass
class Opened:
    """The state folder: what it held, what was shown of it, and what it holds after two more windows."""

    home: Path
    stored: list[Row]
    status: ProjectStatus
    open_retrain: str | None
    runs: list[tuple[str, bool]]
    later: list[Row]
    later_status: ProjectStatus


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    home = tmp_path_factory.mktemp("state")
    unpack(home)
    stored = stored_facts(home)
    with Harness.on(ProjectSpec.model_validate(tide.ATTRIBUTES), home) as harness:
        status = project_status(harness.context)
        decision = harness.context.ledger_view().open_retrain
        harness.run_until_idle()
        harness.advance(windows=WINDOWS_PLAYED_ON)
        yield Opened(
            home=home,
            stored=stored,
            status=status,
            open_retrain=None if decision is None else decision.id,
            runs=harness.runs,
            later=stored_facts(home),
            later_status=project_status(harness.context),
        )


def test_status_of_the_stored_state_is_shown(opened: Opened) -> None:
    status = opened.status
    assert status["champion"] is not None
    assert status["now"] == "2020-01-27T00:00:00Z"
    assert status["champion"]["version"] == 1
    assert status["champion"]["dataset"].startswith("54c8d936")
    assert status["windows"] == {"scored": 6, "labelled": 6, "quarantined": 0}
    assert dict(status["events"]) == {
        "due": 145,
        "answered": 145,
        "late": 0,
        "missed": 0,
        "lost": 0,
        "waiting": 0,
        "note": None,
    }
    assert [decision["decision"] for decision in status["decisions"]][-1] == "RETRAIN"
    assert len(status["decisions"]) == 6
    assert [verdict["verdict"] for verdict in status["verdicts"]] == ["PROMOTE"]
    assert status["retrainings"] == 0


def test_the_open_retrain_decision_is_carried_out_through_promotion(opened: Opened) -> None:
    assert opened.open_retrain == opened.status["decisions"][-1]["id"]
    assert all(succeeded for _, succeeded in opened.runs), opened.runs
    assert [name for name, _ in opened.runs].count("retrain") == 1
    status = opened.later_status
    assert status["champion"] is not None
    assert status["champion"]["version"] == 2
    assert [verdict["verdict"] for verdict in status["verdicts"]] == ["PROMOTE", "PROMOTE"]
    assert status["retrainings"] == 1


def test_the_loop_goes_on_scoring_and_observing(opened: Opened) -> None:
    assert opened.later_status["now"] == "2020-01-29T00:00:00Z"
    assert opened.later_status["windows"] == {"scored": 8, "labelled": 8, "quarantined": 0}
    assert opened.later_status["events"]["answered"] == opened.status["events"]["answered"] + 48
    assert opened.later_status["events"]["missed"] == 0
    assert opened.later_status["loss"]["served"] < opened.later_status["loss"]["first_model"]


def test_stored_facts_are_unchanged_after_playing_on(opened: Opened) -> None:
    assert len(opened.later) > len(opened.stored) == 95
    assert opened.later[: len(opened.stored)] == opened.stored


def test_new_facts_are_stored_under_the_same_keys(opened: Opened) -> None:
    """Keys may be added. None of them may be renamed."""
    old, new = keys_by_kind(opened.stored), keys_by_kind(opened.later[len(opened.stored) :])
    assert set(new) <= set(old), "the old state has facts of each kind"
    assert {kind: keys - old[kind] for kind, keys in new.items() if keys - old[kind]} == ADDED_KEYS
    reports = [kind for kind in new if kind.startswith("report")]
    assert len(reports) == 3
    assert {kind: old[kind] - new[kind] for kind in reports if old[kind] - new[kind]} == {}


def test_nothing_is_written_to_the_folder_that_the_state_was_made_in(opened: Opened) -> None:
    with sqlite3.connect(opened.home / "mlflow" / "mlflow.db") as connection:
        uris = [uri for (uri,) in connection.execute("SELECT artifact_uri FROM runs")]
    assert len(uris) == 2
    assert all(uri.startswith(opened.home.as_uri()) for uri in uris)
