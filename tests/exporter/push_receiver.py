"""A stand-in for a Pushgateway."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.parser import text_string_to_metric_families


class Gateway:
    """Takes pushes as a Pushgateway does: PUT replaces a group, anything else is refused."""

    def __init__(self) -> None:
        self.groups: dict[str, str] = {}
        self.logins: list[str] = []
        self.status = 200
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                list(text_string_to_metric_families(body))
                gateway.groups[self.path] = body
                gateway.logins.append(self.headers.get("Authorization", ""))
                self.send_response(gateway.status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
