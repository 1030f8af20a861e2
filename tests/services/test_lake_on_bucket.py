from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from faulty_proxy import FaultyProxy, proxy_to
from lake_rules import WINDOW, LakeRules, publish, rows
from servers import Gcs, free_port

from mlops_assets.errors import LakeError, LakeUnreachable, Refused
from mlops_assets.resources.storage import object_store
from mlops_assets.resources.storage.lake import Lake

NUMBER = itertools.count()
WRITER = """
import random
import sys
import time
sys.path.insert(0, "tests")
from lake_rules import publish, rows
from mlops_assets.errors import Refused
from mlops_assets.resources.storage.lake import Lake
lake, base, refused = Lake(sys.argv[1]), float(sys.argv[2]), 0
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    time.sleep(random.uniform(0, 0.05))  # without random pauses the same writer would win each time
    try:
        publish(lake, rows(base + number))
    except Refused:
        refused += 1
print(refused)
"""


@pytest.fixture
def proxy(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The proxy between the lake and the bucket."""
    with proxy_to(gcs.url) as found:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", found.url)
        yield found


@pytest.fixture
def root(gcs: Gcs) -> str:
    return f"{gcs.create(f'lake-{next(NUMBER)}')}/lake"


@pytest.fixture
def lake(root: str, proxy: FaultyProxy) -> Lake:
    return Lake(root)


class TestBucket(LakeRules):
    """The rules for a lake in Google Cloud Storage, emulated by fake-gcs-server."""


def test_two_writing_processes_never_mix_their_rows(root: str, proxy: FaultyProxy) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, root, base], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for base in ("0", "1000")
    ]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    lake, seen = Lake(root), set[float]()
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    while any(each.poll() is None for each in writers):
        if lake.version("p", "raw_data", WINDOW):
            read = lake.read_window("p", "raw_data", WINDOW)
            (value,) = read["x"].unique()
            pd.testing.assert_frame_equal(read, rows(value))
            seen.add(value)
    refused = [int(each.communicate()[0]) for each in writers]
    assert [each.returncode for each in writers] == [0, 0]
    # each writer was refused some times and succeeded at others
    assert all(0 < number < 25 for number in refused), refused
    assert {value >= 1000 for value in seen} == {True, False}
    assert lake.row_count("p", "raw_data", WINDOW) == 5


def test_write_whose_response_is_lost_succeeds(lake: Lake, proxy: FaultyProxy) -> None:
    """The client repeats the write, which the precondition refuses: the object is already the writer's own."""
    publish(lake, rows(1.0))
    proxy.fail("lose", 1, "POST", "current.json")
    seen = lake.look("p", "raw_data", WINDOW)
    version = lake.stage("p", "raw_data", WINDOW, rows(2.0))
    lake.publish("p", "raw_data", WINDOW, version, seen)
    assert "lose" in [fate for _, _, fate in proxy.seen]
    assert lake.version("p", "raw_data", WINDOW) == version


def test_overloaded_bucket_is_retried(lake: Lake, proxy: FaultyProxy) -> None:
    for method, part in (("GET", "current.json"), ("POST", "current.json"), ("POST", "/upload/"), ("GET", "parquet")):
        proxy.fail("refuse", 1, method, part)
        value = float(next(NUMBER))
        publish(lake, rows(value))
        assert lake.read_window("p", "raw_data", WINDOW)["x"].unique().tolist() == [value]
        assert "refuse" in [fate for _, _, fate in proxy.seen], (method, part)
        proxy.seen.clear()


def test_bucket_outage_raises_and_keeps_published_windows(
    lake: Lake, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, rows(1.0))
    monkeypatch.setattr(object_store, "TOTAL_TIMEOUT", 2.0)
    other = Lake(f"gs://{lake.objects.name}/lake")  # type: ignore[attr-defined]
    seen = other.look("p", "raw_data", WINDOW)
    version = other.stage("p", "raw_data", WINDOW, rows(2.0))
    proxy.fail("refuse", 1000, "POST", "current.json")
    with pytest.raises(LakeUnreachable, match=r"bucket gs://lake-\d+.*MLOPS_ASSETS_LAKE_URL"):
        other.publish("p", "raw_data", WINDOW, version, seen)
    proxy.fate = lambda method, what: "pass"
    assert lake.read_window("p", "raw_data", WINDOW)["x"].unique().tolist() == [1.0]
    other.publish("p", "raw_data", WINDOW, version, seen)
    assert lake.version("p", "raw_data", WINDOW) == version


def test_bucket_without_versioning_is_refused_before_the_first_write(gcs: Gcs, proxy: FaultyProxy) -> None:
    name = f"plain-{next(NUMBER)}"
    gcs.create(name, versioned=False)
    with pytest.raises(LakeError, match=rf"bucket gs://{name}: object versioning is off.*gs://{name} --versioning"):
        Lake(f"gs://{name}/lake").stage("p", "raw_data", WINDOW, rows())
    assert gcs.objects(name) == {}


def test_missing_or_forbidden_bucket_raises_at_once(root: str, proxy: FaultyProxy) -> None:
    with pytest.raises(LakeError, match=r"it does not exist.*MLOPS_ASSETS_LAKE_URL"):
        Lake("gs://no-such-bucket/lake").published("p", "raw_data")
    proxy.fate = lambda method, what: "forbid"
    with pytest.raises(LakeError, match=r"it refuses.*default credentials"):
        Lake(root).published("p", "raw_data")
    assert len([fate for _, _, fate in proxy.seen if fate == "forbid"]) == 1


def test_missing_credentials_raise_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))  # an empty configuration
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(LakeError, match=r"bucket gs://mlops: it refuses.*default credentials") as caught:
        Lake("gs://mlops/lake").published("p", "raw_data")
    assert not isinstance(caught.value, LakeUnreachable)


READER = """
from mlops_assets.errors import LakeError
from mlops_assets.resources.storage.lake import Lake
try:
    Lake("gs://mlops/lake").published("p", "raw_data")
except LakeError as error:
    print(type(error).__name__)
"""


@contextmanager
def metadata_service(status: int) -> Iterator[str]:
    """Run a node's metadata service, as with Workload Identity, that answers requests for an account with a status."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            universe = "universe" in self.path
            self.send_response(404 if universe else status if "service-accounts" in self.path else 200)
            body = b"" if universe else b"project"
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("status", "error"), [(503, LakeUnreachable), (404, LakeError)])
def test_overloaded_metadata_service_is_unreachable_missing_account_is_not(
    tmp_path: Path, status: int, error: type[LakeError]
) -> None:
    own = ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    with metadata_service(status) as address:
        # in a separate process, since Google's library reads the address at import
        environment |= {"GCE_METADATA_HOST": address, "GCE_METADATA_IP": address, "CLOUDSDK_CONFIG": str(tmp_path)}
        command = [sys.executable, "-c", READER]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == error.__name__, done.stderr


def test_bucket_without_a_server_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "TOTAL_TIMEOUT", 2.0)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(LakeUnreachable, match="does not answer"):
        Lake("gs://mlops/lake").published("p", "raw_data")


def test_overwritten_pointer_can_be_restored_from_the_bucket(lake: Lake) -> None:
    """This is why the bucket must have object versioning."""
    from google.cloud.storage import Client

    first = publish(lake, rows(1.0))
    seen = lake.look("p", "raw_data", WINDOW)
    publish(lake, rows(2.0))
    name = lake.objects.name  # type: ignore[attr-defined]
    assert seen.pointer is not None
    path = "lake/p/raw_data/20110402T040000Z/current.json"
    assert first in Client().bucket(name).blob(path, generation=seen.pointer.mark).download_as_text()


def test_forbidden_write_names_the_credentials(lake: Lake, proxy: FaultyProxy) -> None:
    publish(lake, rows(1.0))
    seen = lake.look("p", "raw_data", WINDOW)
    proxy.fail("forbid", 10, "POST", "/upload/")
    with pytest.raises(LakeError, match=r"it refuses.*roles on the bucket") as caught:
        lake.stage("p", "raw_data", WINDOW, rows(2.0))
    assert not isinstance(caught.value, LakeUnreachable)
    assert not isinstance(caught.value, Refused)
    assert lake.look("p", "raw_data", WINDOW) == seen
