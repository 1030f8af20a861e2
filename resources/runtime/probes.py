"""A service's addresses for those who watch it: `/healthz` (also `/livez`), `/readyz`, `/metrics`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Probes:
    """Answers from a thread of its own, between `with` and its end.

    Args:
        host: where it listens.
        port: 0 for any free one; `port` says which.
        problem: why the service is not ready; None when it is.
        registry: the metrics.
    """

    def __init__(self, host: str, port: int, problem: Callable[[], str | None], registry: CollectorRegistry) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in ("/healthz", "/livez"):
                    self.tell(200, "application/json", b'{"alive": true}')
                elif self.path == "/readyz":
                    found = problem()
                    body = orjson.dumps({"ready": found is None, "problem": found})
                    self.tell(200 if found is None else 503, "application/json", body)
                elif self.path == "/metrics":
                    self.tell(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                else:
                    self.tell(404, "text/plain", b"there are /healthz, /readyz and /metrics")

            def tell(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds: nobody reads of them."""

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
