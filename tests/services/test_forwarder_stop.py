"""A forwarder ends in time although its server never answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def test_forwarder_with_a_hanging_request_ends_10_s_after_sigterm(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, socket.create_server(("127.0.0.1", 0)) as free:
        deaf.settimeout(60)
        port = free.getsockname()[1]
        free.close()
        environment = {
            "MLOPS_ASSETS_HOME": str(tmp_path),
            "MLOPS_ASSETS_INFLUX_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}",
            "MLOPS_ASSETS_INFLUX_TOKEN": "any",
        }
        command = [sys.executable, "-m", "mlops_assets.resources.telemetry.forwarder", "--port", str(port)]
        with subprocess.Popen(command, env={**os.environ, **environment}) as forwarder:
            asked, _ = deaf.accept()
            with asked:
                forwarder.send_signal(signal.SIGTERM)
                # its requests' own limit is longer
                assert forwarder.wait(10) == 0
