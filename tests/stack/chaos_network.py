"""What goes wrong between the processes: a network that loses answers, and kill -9."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from tests.stack.chaos import Telling

from alertbridge.webhook import parse
from demo.stack import Service


class Wire(ThreadingHTTPServer):
    """Stands between Alertmanager and the bridge: notes which alerts were answered 202, and loses some answers.

    Alertmanager tells the end of an alert only if it knows that its beginning was taken.
    """

    daemon_threads = True
    # Alertmanager opens one connection for each group that it flushes.
    request_queue_size = 256

    def __init__(self, bridge: Service, loses: Callable[[], bool] = lambda: False) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.bridge_url = bridge.url
        self.loses = loses
        self.answered: set[Telling] = set()
        self.lost = 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        super().__exit__(*error)


class _Relay(BaseHTTPRequestHandler):
    server: Wire

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {"Content-Type": self.headers["Content-Type"]}
        try:
            answer = requests.post(self.server.bridge_url + self.path, data=body, headers=headers, timeout=9)
        except requests.RequestException:
            return
        taken = answer.status_code == 202
        if self._hung_up() or (taken and self.server.loses()):
            self.server.lost += taken
            return
        self.send_response(answer.status_code)
        self.end_headers()
        if taken:
            alerts = parse(body).alerts
            self.server.answered.update((alert.labels["run"], alert.status) for alert in alerts)

    def _hung_up(self) -> bool:
        # Alertmanager gives up when its time for a flush is over; it then does not know of this answer.
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def log_message(self, *arguments: object) -> None:
        """Says nothing: a lost connection is what this is for."""


class Killer(threading.Thread):
    """Kills the bridge with -9 at random points, its own start included, and starts it again each time.

    Whoever joins it starts the bridge anew: the kernel ends a process whose starting thread ends.
    """

    def __init__(
        self, bridge: Service, kills: int, chance: random.Random, longest_life_seconds: float
    ) -> None:
        super().__init__(name="killer")
        self._bridge = bridge
        self._kills = kills
        self._chance = chance
        self._longest_life_seconds = longest_life_seconds

    def run(self) -> None:
        ready_path, self._bridge.ready_path = self._bridge.ready_path, ""
        for _ in range(self._kills):
            time.sleep(self._chance.uniform(0, self._longest_life_seconds))
            self._bridge.kill()
            self._bridge.start()
        self._bridge.kill()
        self._bridge.ready_path = ready_path
