"""`make live`: real servers of this machine, and real history played through them as `make demo` does without any.

The servers end with it; their data and the platform's state lie in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from servers import Gcs, Influx, MLflowServer, Postgres, Server

COMMAND = [sys.executable, "-c", "from mlops_assets.cli import app; app()"]


@contextmanager
def all_servers(folder: Path) -> Iterator[dict[str, Server]]:
    """Every server that the platform knows, by what it is for."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        gcs = stack.enter_context(Gcs(folder / "gcs"))
        influx = stack.enter_context(Influx(folder / "influx"))
        mlflow = stack.enter_context(MLflowServer(folder / "mlflow", postgres, gcs))
        yield {"PostgreSQL": postgres, "bucket": gcs, "InfluxDB": influx, "MLflow": mlflow}


def main() -> int:
    """Play; the demo's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exit", action="store_true", help="end when done instead of staying up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="live-") as folder, all_servers(Path(folder)) as servers:
        environment = {**os.environ, "MLOPS_ASSETS_HOME": f"{folder}/state"}
        for name, server in servers.items():
            sys.stdout.write(f"{name:>10}: {server.url}\n")
            sys.stdout.flush()
            environment |= server.environment()
        with subprocess.Popen([*COMMAND, "demo", *(["--exit"] if arguments.exit else [])], env=environment) as demo:
            try:
                return demo.wait()
            except KeyboardInterrupt:
                return demo.wait()  # it heard of it too, and ends in order


if __name__ == "__main__":
    sys.exit(main())
