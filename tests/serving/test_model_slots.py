"""The admin API: load, switch and shadow; the priority of small requests over batches."""

from __future__ import annotations

import asyncio
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from bundles import Version
from scoring_services import Start, due_of, later, recorded, score, serving

from mlops_assets.errors import ModelError
from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.predictor import Predictions, Predictor
from mlops_assets.timeline import iso


def test_status_names_champion_standby_and_shadow(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("shadow", version=3, folder=str(rentals[3].folder))
    status = client.get("/status").json()
    places = {place: status[place]["version"] for place in ("champion", "standby", "shadow")}
    assert places == {"champion": 1, "standby": 2, "shadow": 3}
    assert status["champion"]["dataset"] == f"{1:032x}"
    assert status["champion"]["as_of"] == iso(rentals[1].as_of)
    assert (status["project"], status["ready"], status["shadow_backlog"]) == ("rentals", True, 0)
    assert status["memory_mb"] > 10


def test_switch_takes_effect_with_the_next_request(rentals: dict[int, Version], start: Start) -> None:
    client, records = start(rentals[1]), rentals[1].records[:1]
    assert client.admin("load", version=2, folder=str(rentals[2].folder)).json()["place"] == "standby"
    assert client.ask(records).json()["predictions"][0]["model_version"] == 1
    assert client.admin("switch", version=2).json() == {"version": 2, "previous": 1}
    predicted = client.ask(records).json()["predictions"][0]
    predictor = Predictor.load(rentals[2].folder)
    assert predicted["prediction"] == predictor.predict(from_records(records, rentals[2].schema)).value[0]
    assert predicted["model_version"] == 2
    predictor.close()


def test_load_and_switch_can_be_repeated(rentals: dict[int, Version], start: Start) -> None:
    client, bundle = start(rentals[1]), {"version": 2, "folder": str(rentals[2].folder)}
    client.admin("load", **bundle)
    standby = client.service.slots.at("standby")
    assert client.admin("load", **bundle).json()["place"] == "standby"
    assert client.service.slots.at("standby") is standby
    for _ in range(2):
        assert client.admin("switch", version=2).status_code == 200
    assert client.admin("load", **bundle).json()["place"] == "champion"
    assert client.service.slots.at("champion") is standby


def test_only_the_standby_can_be_switched_to(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    client.admin("load", version=2, folder=str(rentals[2].folder))
    assert client.admin("switch", version=3).status_code == 409
    assert client.admin("unload").json() == {"version": 2}
    assert client.admin("switch", version=2).status_code == 409
    assert client.get("/status").json()["champion"]["version"] == 1


def test_damaged_or_foreign_bundle_does_not_load(
    rentals: dict[int, Version], prices: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client = start(rentals[1])
    damaged = tmp_path / "damaged"
    shutil.copytree(rentals[2].folder, damaged)
    with (damaged / "mojo.zip").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\0\0\0")
    for folder in (damaged, prices[1].folder, tmp_path / "nowhere"):
        response = client.admin("load", version=2, folder=str(folder))
        assert response.status_code == 422
        assert response.json()["error"]["message"]
        assert client.admin("shadow", version=2, folder=str(folder)).status_code == 422
    assert client.service.slots.at("standby") is None
    assert client.ask(rentals[1].records[:1]).json()["predictions"][0]["model_version"] == 1


def test_version_with_other_reference_predictions_does_not_load(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(rentals[1])
    honest = Predictor.predict

    def drifted(self: Predictor, inputs: Any) -> Predictions:
        right = honest(self, inputs)
        return Predictions(right.value + 1e-6, right.probabilities, right.features, right.known_entity)

    monkeypatch.setattr(Predictor, "predict", drifted)
    assert client.admin("load", version=2, folder=str(rentals[2].folder)).status_code == 422


def test_replaced_version_finishes_requests_and_is_released(rentals: dict[int, Version], start: Start) -> None:
    client = start(rentals[1])
    slots = client.service.slots
    for number in (2, 3):
        client.admin("load", version=number, folder=str(rentals[number].folder))
        with slots.borrow("champion") as held:
            assert held is not None
            predictor, inputs = held.predictor, from_records(rentals[1].records[:1], rentals[1].schema)
            client.admin("switch", version=number)
            assert predictor.predict(inputs).value[0] > 0
            assert client.get("/status").json()["models_in_memory"] == 2
        with pytest.raises(ModelError, match="closed"):
            predictor.predict(inputs)
        freed = weakref.ref(predictor)
        del held, predictor
        assert freed() is None
        assert client.get("/status").json()["models_in_memory"] == 1


@pytest.mark.parametrize("body", [{}, {"version": 2}, {"version": "2", "folder": "x"}, {"version": 0, "folder": "x"}])
def test_admin_api_checks_its_requests(rentals: dict[int, Version], start: Start, body: dict[str, Any]) -> None:
    client = start(rentals[1])
    for path in ("load", "shadow"):
        response = client.admin(path, **body)
        assert response.status_code == 422
        assert set(response.json()["error"]) == {"field", "message", "row"}
    assert client.get("/nowhere").json()["error"]["message"] == "Not Found"
    assert client.get("/invocations").status_code == 405


def test_shadow_predicts_for_the_inputs_of_the_champion(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    score(client, version, version.records[:20])
    client.ask(version.records[20:25])
    assert client.admin("drain").json() == {"backlog": 0, "written": 20, "failed": 0}
    log, shadow = recorded(client, "champion"), recorded(client, "shadow")
    predictor = Predictor.load(rentals[2].folder)
    expected = predictor.predict(from_records(version.records[:20], version.schema)).value
    assert shadow["prediction"].tolist() == list(expected)
    assert shadow["event_id"].tolist() == log["event_id"].tolist()
    assert set(shadow["version"]) == {2}
    assert (shadow["prediction"] != log["prediction"]).any()
    predictor.close()


def test_shadow_catches_up_at_the_next_start(rentals: dict[int, Version], tmp_path: Path) -> None:
    version = rentals[1]
    with serving(version, tmp_path) as client:
        score(client, version, version.records[:5])
    shadow = {"version": 2, "folder": rentals[2].folder}
    with serving(version, tmp_path, shadow=shadow) as client:
        assert client.admin("drain").json()["backlog"] == 0
        assert len(recorded(client, "shadow")) == 5


def test_shadow_predicts_nothing_due_before_its_snapshot(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:5])
    bundle = later(rentals[2], due_of(version, version.records[:4])[3], tmp_path)
    client.admin("shadow", version=2, folder=str(bundle))
    assert client.admin("drain").json()["written"] == 2
    assert recorded(client, "shadow")["event_id"].tolist() == recorded(client, "champion")["event_id"].tolist()[3:]


def test_shadow_with_other_columns_counts_failures_and_does_not_block(
    rentals: dict[int, Version], start: Start
) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    wider = version.schema.model_copy(update={"known": {**version.schema.known, "wind": "float"}})
    shadow = client.service.slots.at("shadow")
    assert shadow is not None
    shadow.predictor.schema = wider
    assert score(client, version, version.records[:3]).status_code == 200
    assert client.admin("drain").json() == {"backlog": 0, "written": 0, "failed": 3}


def test_drain_returns_the_backlog_when_time_is_up(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, version = start(rentals[1]), rentals[1]
    monkeypatch.setattr(client.service.shadow, "_chunk", lambda: False)
    client.admin("shadow", version=2, folder=str(rentals[2].folder))
    score(client, version, version.records[:3])
    began = time.monotonic()
    response = client.post("/admin/drain?timeout=0.2", headers=client.scorer)
    assert response.json()["backlog"] == 3
    assert 0.2 <= time.monotonic() - began < 5
    monkeypatch.undo()


def test_shadow_can_be_removed(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1], shadow={"version": 2, "folder": rentals[2].folder}), rentals[1]
    assert client.admin("shadow", version=None, folder=None).status_code == 200
    score(client, version, version.records[:2])
    assert client.admin("drain").json()["written"] == 0
    assert client.admin("shadow", version=2, folder=None).status_code == 422


def test_single_row_does_not_wait_for_a_batch(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    computing = client.service.slots.priority_lock._computing

    async def ask() -> tuple[float, float]:
        began = time.monotonic()
        batch = asyncio.create_task(client.send("POST", "/invocations", json={"inputs": version.records * 4}))
        while not computing.locked():
            await asyncio.sleep(0.0005)
        sent = time.monotonic()
        single = await client.send("POST", "/invocations", json={"inputs": version.records[:1]})
        received = time.monotonic()
        assert (single.status_code, (await batch).status_code) == (200, 200)
        assert len(batch.result().json()["predictions"]) == 4 * len(version.records)
        return received - sent, time.monotonic() - began

    waited, whole = client.run(ask())
    assert waited < whole / 3
