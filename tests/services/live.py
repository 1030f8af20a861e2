"""`make live`: `make demo` on real servers of this machine.

The servers end with the demo. Their data and the platform's state are in a temporary folder.
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
    """Run all servers that the platform can use; yield them by name."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        gcs = stack.enter_context(Gcs(folder / "gcs"))
        influx = stack.enter_context(Influx(folder / "influx"))
        mlflow = stack.enter_context(MLflowServer(folder / "mlflow", postgres, gcs))
        yield {"PostgreSQL": postgres, "bucket": gcs, "InfluxDB": influx, "MLflow": mlflow}


def main() -> int:
    """Run the demo on the servers, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--exit", action="store_true", help="end after the replay instead of keeping the services running"
    )
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
                return demo.wait()  # the demo gets the signal too, and ends by itself


if __name__ == "__main__":
    sys.exit(main())
