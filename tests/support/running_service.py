"""The real service on a real socket, in a thread with a loop of its own."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from citemark_service.app import create_app
from citemark_service.serve import DrainingServer
from citemark_service.settings import Settings
from citemark_service.web.admission import Admission
from support.in_process_judges import GatedJudge

PATIENCE_S = 60.0


def until(
    condition: Callable[[], bool], *, patience_s: float = PATIENCE_S, every_s: float = 0.005
) -> None:
    """Wait for something that another thread or process brings about."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(every_s)


@dataclass
class Running:
    judge: GatedJudge
    admission: Admission
    server: DrainingServer
    thread: threading.Thread
    client: httpx.Client
    pool: ThreadPoolExecutor

    def post(self, body: Any, path: str = "/v1/score", **options: Any) -> httpx.Response:
        """Send bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, **options)

    def in_background(self, body: Any) -> Future[httpx.Response]:
        return self.pool.submit(self.post, body)

    def connect(self) -> socket.socket:
        """A bare connection, for clients that misbehave."""
        host, port = self.server.servers[0].sockets[0].getsockname()[:2]
        return socket.create_connection((host, port), timeout=PATIENCE_S)


Start = Callable[..., Running]
"""`start(max_items=3)`: a service with those settings."""
Build = Callable[..., dict[str, Any]]
"""`rollout("wait 3", id="x")`: a well-formed rollout that asks this."""


@contextmanager
def begin(judge: GatedJudge | None = None, **settings: Any) -> Iterator[Running]:
    """A service with those settings, on a free port; in the end everything that waits goes on."""
    table = Settings(**{"port": 0, "stop_grace_s": 5.0, **settings})
    judge = judge or GatedJudge()
    app = create_app(table, judge)
    server = DrainingServer(app)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    with ExitStack() as stack:
        stack.callback(thread.join, PATIENCE_S)
        stack.callback(server.stop)
        client = httpx.Client(base_url=server.url, timeout=PATIENCE_S, trust_env=False)
        pool = stack.enter_context(ThreadPoolExecutor(4))
        stack.callback(judge.gate.set)
        yield Running(judge, app.admission, server, thread, stack.enter_context(client), pool)
    assert not thread.is_alive()
