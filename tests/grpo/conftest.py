"""A scripted reward service on a real socket, for what uses the client's side of HTTP."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from scripted_service import Service


@pytest.fixture
def service() -> Iterator[Service]:
    """A running scripted service."""
    listener = socket.create_server(("127.0.0.1", 0))
    scripted = Service(f"http://127.0.0.1:{listener.getsockname()[1]}")
    app = Starlette(routes=[Route("/v1/score", scripted.answer, methods=["POST"])])
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield scripted
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()
    assert not thread.is_alive()


@pytest.fixture
def closed_url() -> str:
    """The address of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
