"""The forwarder ends in time although InfluxDB does not answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def test_forwarder_with_a_hanging_request_ends_10_s_after_sigterm(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as free:
        silent.settimeout(60)
        port = free.getsockname()[1]
        free.close()
        environment = {
            "MLOPS_ASSETS_HOME": str(tmp_path),
            "MLOPS_ASSETS_INFLUX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "MLOPS_ASSETS_INFLUX_TOKEN": "any",
        }
        command = [sys.executable, "-m", "mlops_assets.resources.telemetry.forwarder", "--port", str(port)]
        with subprocess.Popen(command, env={**os.environ, **environment}) as forwarder:
            connection, _ = silent.accept()
            with connection:
                forwarder.send_signal(signal.SIGTERM)
                # the timeout of its requests is longer
                assert forwarder.wait(10) == 0
