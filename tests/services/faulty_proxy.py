"""An HTTP proxy that can fail: it forwards requests, refuses them, or loses their responses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import httpx

Fate = Literal["pass", "refuse", "lose", "forbid", "hang"]
STATUS = {"refuse": 503, "lose": 503, "forbid": 403}
HEAD = 500
"""The first bytes of a body, which contain the name of an upload."""
OWN = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive", "accept-encoding"}


@dataclass
class FaultyProxy:
    """A running proxy, and what it does with requests."""

    url: str
    fate: Callable[[str, str], Fate] = lambda method, what: "pass"
    """Called for each request with its method, and its path with the head of its body. `lose`: the server carries the
    request out, but the client gets status 503. `hang`: the client gets no response while the proxy runs."""
    seen: list[tuple[str, str, Fate]] = field(default_factory=list)

    def fail(self, fate: Fate, times: int, method: str, part: str) -> None:
        """Let the next requests of a method fail whose path or head of the body contains a text."""
        left = [times]

        def decide(requested: str, what: str) -> Fate:
            if left[0] and requested == method and part in what:
                left[0] -= 1
                return fate
            return "pass"

        self.fate = decide


@contextmanager
def proxy_to(address: str) -> Iterator[FaultyProxy]:
    """Run a proxy to the server at an address."""
    ended = threading.Event()
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as onward:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                fate = proxy.fate(self.command, self.path + body[:HEAD].decode(errors="replace"))
                proxy.seen.append((self.command, self.path, fate))
                if fate == "hang":
                    ended.wait()
                    self.close_connection = True
                    return
                if fate in ("refuse", "forbid"):
                    self.answer(STATUS[fate], b'{"error": {"message": "Not now"}}', {})
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
                found = onward.request(self.command, self.path, content=body, headers=headers)
                if fate == "lose":
                    self.answer(STATUS[fate], b'{"error": {"message": "Not now"}}', {})
                    return
                kept = {name: value for name, value in found.headers.items() if name.lower() not in OWN}
                self.answer(found.status_code, found.content, kept)

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self.handle_any
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        proxy = FaultyProxy(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy
        finally:
            ended.set()
            server.shutdown()
            thread.join()
            server.server_close()
