"""A local stand-in for whoever takes events: it answers as a robot or as Alertmanager does, or misbehaves."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Listens on a free loopback port; `status` and `hanging` say how it answers from now on."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.logins: list[str | None] = []
        self.at: list[float] = []
        self.answers: dict[str, Any] = {"GET": [], "POST": {"errcode": 0}}
        self.status = 200
        self.hanging = threading.Event()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer("GET")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outer.hanging.is_set():
                    outer.released.wait(30)
                    return
                outer.at.append(time.time())
                outer.logins.append(self.headers["Authorization"])
                outer.bodies.append(body)
                self.answer("POST")

            def answer(self, method: str) -> None:
                content = json.dumps(outer.answers[method]).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.webhook = f"{self.url}/robot/send?access_token=5f0d9a7c21e8"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def titles(self) -> list[str]:
        """Gives the titles of the robot's messages."""
        return [body["markdown"]["title"] for body in self.bodies]

    def alerts(self) -> list[dict[str, Any]]:
        """Gives the alerts that Alertmanager was told."""
        return [alert for body in self.bodies for alert in body]
