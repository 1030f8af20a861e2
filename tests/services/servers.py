"""Real servers for tests: PostgreSQL, InfluxDB, an emulator of Google Cloud Storage, and MLflow.

They run on free loopback ports, each with its own folder. A test can stop, kill and restart them; the data are kept.
Their programs are in the folder `MLOPS_ASSETS_SERVERS`, which `install.sh` fills; PostgreSQL is the machine's package.
`environment()` returns the environment variables with which the platform uses a server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from server_process import HOST, Server, free_port, status_of, wait_until

HOME = Path(os.environ.get("MLOPS_ASSETS_SERVERS") or "~/.cache/mlops-assets/servers").expanduser()
ORG, BUCKET = "mlops", "mlops"


__all__ = ["BUCKET", "HOST", "ORG", "Gcs", "Influx", "MLflowServer", "Postgres", "Server", "free_port", "wait_until"]


class Postgres(Server):
    """PostgreSQL with a user `mlops`, a password and a database `mlops`.

    PostgreSQL refuses to run as root. Under root the user `postgres` runs it, in a temporary folder of that user.
    """

    user, password, name = "mlops", "a password: with / and @", "mlops"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._root = os.geteuid() == 0
        self.data = Path(tempfile.mkdtemp(prefix="pg-")) if self._root else self.folder / "data"

    @property
    def url(self) -> str:
        return self.url_of(self.name)

    def url_of(self, database: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{self.user}@{HOST}:{self.port}/{database}"

    def prepare(self) -> None:
        if self._root:
            shutil.chown(self.data, "postgres", "postgres")
        secret = self.data.with_suffix(".password")
        secret.write_text(self.password)
        secret.chmod(0o644)
        # not scram: dagster-postgres logs in for each query, 70 times a second, and scram makes each login expensive
        options = ["-A", "md5", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        command = ["initdb", "-D", str(self.data), "-U", self.user, f"--pwfile={secret}", *options]
        done = subprocess.run(self._as_its_user(command), cwd="/", capture_output=True, text=True, check=False)
        secret.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def command(self) -> list[str]:
        # without fsync a killed server loses nothing; only a power failure would lose data
        settings = {"listen_addresses": HOST, "port": str(self.port), "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._as_its_user(["postgres", "-D", str(self.data), *options])

    def answers(self) -> bool:
        import psycopg2

        try:
            self._do("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def create(self, database: str) -> str:
        """Create an empty database, and return its address."""
        self._do(f'CREATE DATABASE "{database}"')
        return self.url_of(database)

    def set_up(self) -> None:
        if not self._do(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"):
            self.create(self.name)

    def environment(self) -> dict[str, str]:
        return {"MLOPS_ASSETS_DATABASE_URL": self.url, "PGPASSWORD": self.password}

    def stop(self) -> None:
        """Stop the server in mode fast: it ends open sessions and does not wait for them."""
        if self._process is not None:
            command = ["pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop"]
            subprocess.run(self._as_its_user(command), cwd="/", capture_output=True, check=True)
        super().stop()

    def remove(self) -> None:
        super().remove()
        shutil.rmtree(self.data, ignore_errors=True)

    def _do(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg2

        connection = psycopg2.connect(
            host=HOST, port=self.port, user=self.user, password=self.password, dbname=database, connect_timeout=5
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _as_its_user(self, command: list[str]) -> list[str]:
        whole = [str(_postgres_program(command[0])), *command[1:]]
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *whole] if self._root else whole


class Influx(Server):
    """InfluxDB 2 with an organisation, a bucket, and a token that may read and write this bucket only."""

    admin_token = "the-token-of-the-administrator"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.token = ""

    def command(self) -> list[str]:
        files = [f"--{name}-path={self.folder / name}" for name in ("bolt", "sqlite", "engine")]
        address = f"--http-bind-address={HOST}:{self.port}"
        return [str(HOME / "bin" / "influxd"), "run", address, *files, "--reporting-disabled", "--log-level=warn"]

    def answers(self) -> bool:
        return status_of(f"{self.url}/health") == 200

    def set_up(self) -> None:
        if self.token:
            return
        administrator = {"username": "admin", "password": "adminadmin", "token": self.admin_token}
        made = self.post("/api/v2/setup", {**administrator, "org": ORG, "bucket": BUCKET, "retentionPeriodSeconds": 0})
        self.token = self.token_for(made["org"]["id"], made["bucket"]["id"], "read", "write")  # type: ignore[index]

    def token_for(self, org: str, bucket: str, *actions: str) -> str:
        """Return a new token for actions (`read`, `write`) in one bucket; organisation and bucket are given by id."""
        resource = {"type": "buckets", "id": bucket, "orgID": org}
        permissions = [{"action": action, "resource": resource} for action in actions]
        return str(self.post("/api/v2/authorizations", {"orgID": org, "permissions": permissions})["token"])

    def post(self, path: str, body: dict[str, object]) -> dict[str, object]:
        """Send a POST request as the administrator, and return the response."""
        headers = {"Authorization": f"Token {self.admin_token}"} if path != "/api/v2/setup" else {}
        response = httpx.post(self.url + path, json=body, headers=headers, timeout=30)
        response.raise_for_status()
        made: dict[str, object] = response.json()
        return made

    def environment(self) -> dict[str, str]:
        return {
            "MLOPS_ASSETS_INFLUX_URL": self.url,
            "MLOPS_ASSETS_INFLUX_ORG": ORG,
            "MLOPS_ASSETS_INFLUX_BUCKET": BUCKET,
            "MLOPS_ASSETS_INFLUX_TOKEN": self.token,
        }


class Gcs(Server):
    """Google Cloud Storage, emulated by fake-gcs-server, with generations, preconditions and object versions.

    Its file system back end has no object versions, so it runs in memory. Google's storage keeps its objects during an
    outage. So the newest version of each object is saved before the server ends, and restored at its start.
    """

    def __init__(self, folder: Path, bucket: str = "mlops") -> None:
        super().__init__(folder)
        self.bucket = bucket
        self._kept: dict[str, tuple[bool, dict[str, bytes]]] = {}

    def command(self) -> list[str]:
        where = ["-scheme", "http", "-host", HOST, "-port", str(self.port), "-public-host", f"{HOST}:{self.port}"]
        return [str(HOME / "bin" / "fake-gcs-server"), "-backend", "memory", "-log-level", "error", *where]

    def answers(self) -> bool:
        return status_of(f"{self.url}/storage/v1/b") == 200

    def set_up(self) -> None:
        for bucket, (versioned, objects) in (self._kept or {self.bucket: (True, {})}).items():
            self.create(bucket, versioned=versioned)
            for name, data in objects.items():
                self.put(bucket, name, data)

    def save(self) -> None:
        if self.running:
            self._kept = {bucket: (self._versioned(bucket), self.objects(bucket)) for bucket in self._buckets()}

    def create(self, bucket: str, *, versioned: bool = True) -> str:
        """Create a bucket, and return its address."""
        self._ask("POST", "/storage/v1/b?project=p", json={"name": bucket, "versioning": {"enabled": versioned}})
        return f"gs://{bucket}"

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object."""
        where = {"uploadType": "media", "name": name}
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o", params=where, content=data)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return the newest version of each object by name."""
        found = self._ask("GET", f"/storage/v1/b/{bucket}/o").json().get("items", [])
        return {item["name"]: self._ask("GET", item["mediaLink"]).content for item in found}

    def _buckets(self) -> list[str]:
        return [item["name"] for item in self._ask("GET", "/storage/v1/b").json().get("items", [])]

    def _versioned(self, bucket: str) -> bool:
        found = self._ask("GET", f"/storage/v1/b/{bucket}").json()
        return bool(found.get("versioning", {}).get("enabled", False))

    def _ask(self, method: str, where: str, **what: object) -> httpx.Response:
        address = where if where.startswith("http") else self.url + where
        response = httpx.request(method, address, timeout=60, **what)  # type: ignore[arg-type]
        response.raise_for_status()
        return response

    def environment(self) -> dict[str, str]:
        return {
            "MLOPS_ASSETS_LAKE_URL": f"gs://{self.bucket}/lake",
            "MLOPS_ASSETS_DVC_REMOTE": f"gs://{self.bucket}/dvc",
            "STORAGE_EMULATOR_HOST": self.url,
        }


class MLflowServer(Server):
    """MLflow's server with passwords. Its tables are in PostgreSQL, and it serves artifacts from a bucket.

    Args:
        folder: the folder of its log.
        postgres: a running server, in which the database `mlflow` is created.
        gcs: a running server.
    """

    start_within = 240.0  # on a busy machine without byte code its imports take a minute
    user, password = "admin", "the password of MLflow"

    def __init__(self, folder: Path, postgres: Postgres, gcs: Gcs) -> None:
        super().__init__(folder)
        self.postgres, self.gcs = postgres, gcs

    def prepare(self) -> None:
        database = self.postgres.create("mlflow")
        (self.folder / "auth.ini").write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {database}\nadmin_username = {self.user}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )

    def command(self) -> list[str]:
        stores = ["--backend-store-uri", self.postgres.url_of("mlflow")]
        stores += ["--artifacts-destination", f"gs://{self.gcs.bucket}/mlflow", "--serve-artifacts"]
        where = ["--app-name", "basic-auth", "--host", HOST, "--port", str(self.port), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", *stores, *where]

    def own_environment(self) -> dict[str, str]:
        return {
            "PGPASSWORD": self.postgres.password,
            "STORAGE_EMULATOR_HOST": self.gcs.url,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for tests",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 0.4 GB instead of 2.3
        }

    def answers(self) -> bool:
        return status_of(f"{self.url}/health") == 200

    def environment(self) -> dict[str, str]:
        return {
            "MLOPS_ASSETS_MLFLOW_URL": self.url,
            "MLFLOW_TRACKING_USERNAME": self.user,
            "MLFLOW_TRACKING_PASSWORD": self.password,
        }


def _postgres_program(name: str) -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} was not found in PATH or /usr/lib/postgresql/*/bin: install PostgreSQL")
    return Path(found)
