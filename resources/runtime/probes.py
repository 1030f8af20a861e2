"""Health endpoints of a process: `/healthz` (also `/livez`), `/readyz` and `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Probes:
    """Serves the health endpoints from a thread of its own, within a `with` block.

    Args:
        host: the address that it listens on.
        port: the port; 0 for any free one, which the attribute `port` then names.
        problem: returns why the process is not ready; None when it is.
        registry: the metrics.
    """

    def __init__(self, host: str, port: int, problem: Callable[[], str | None], registry: CollectorRegistry) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in ("/healthz", "/livez"):
                    self.respond(200, "application/json", b'{"alive": true}')
                elif self.path == "/readyz":
                    reason = problem()
                    body = orjson.dumps({"ready": reason is None, "problem": reason})
                    self.respond(200 if reason is None else 503, "application/json", body)
                elif self.path == "/metrics":
                    self.respond(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                else:
                    self.respond(404, "text/plain", b"there are /healthz, /readyz and /metrics")

            def respond(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Do not log requests: probes come every few seconds."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    def __enter__(self) -> Probes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
