"""Promotions under constant load: no request fails, and each prediction is by a version that served."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from bundles import Version
from scoring_services import ref

from mlops_assets.resources.scoring.endpoint_process import EndpointProcess

CLIENTS, PROMOTIONS = 4, 10


@dataclass
class Asking:
    """A client that sends one row after the other."""

    url: str
    record: dict[str, object]
    ended: threading.Event
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    """Times of request and response, and the version, of each request."""
    failures: list[str] = field(default_factory=list)

    def run(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self.ended.is_set():
                sent = time.monotonic()
                try:
                    response = client.post(f"{self.url}/invocations", json={"inputs": [self.record]})
                    response.raise_for_status()
                    version = response.json()["predictions"][0]["model_version"]
                    self.answers.append((sent, time.monotonic(), version))
                except (httpx.HTTPError, KeyError) as error:
                    self.failures.append(repr(error))


def test_promotions_under_constant_load_fail_no_request(rentals: dict[int, Version], tmp_path: Path) -> None:
    with EndpointProcess(rentals[1].spec, tmp_path) as handle:
        # a version may predict from the request of its switch until the next switch is done
        periods = [(1, time.monotonic(), float("inf"))]
        url = handle.start(serve=ref(rentals[1], 1)).url
        ended = threading.Event()
        clients = [Asking(url, record, ended) for record in rentals[1].records[:CLIENTS]]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        try:
            for version in range(2, PROMOTIONS + 2):
                handle.load(version, rentals[version % 3 + 1].folder)
                begun = time.monotonic()
                assert handle.switch(version) == version - 1
                periods[-1] = (*periods[-1][:2], time.monotonic())
                periods.append((version, begun, float("inf")))
                time.sleep(0.05)
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)
        status = handle.status()
        handle.stop()

    answers = [answer for client in clients for answer in client.answers]
    logging.getLogger(__name__).info("%d requests during %d promotions", len(answers), PROMOTIONS)
    assert len(answers) > 100
    assert [failure for client in clients for failure in client.failures] == []
    assert all(client.answers for client in clients)
    wrong = [
        answer for answer in answers
        if not any(v == answer[2] and start <= answer[1] and answer[0] <= end for v, start, end in periods)
    ]  # fmt: skip
    assert wrong == []
    assert {version for *_, version in answers} >= {1, PROMOTIONS + 1}
    assert status is not None
    assert status.models_in_memory == 1
