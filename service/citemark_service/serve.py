"""Running the service: a uvicorn server that stops gracefully.

The first SIGTERM or SIGINT starts draining: what is in flight is finished and delivered, and new
requests are answered 503. The process ends when nothing is in flight, after `stop_grace_s`, or at
a second signal.
"""

import gc
import logging
import math
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial
from types import FrameType

import uvicorn

from citemark_service.connections import BoundedHttp, Connections
from citemark_service.errors import SettingsError
from citemark_service.settings import JUDGES, Settings
from citemark_service.telemetry.logs import start_log
from citemark_service.web.openapi import Citemark
from citemark_service.web.site import is_loopback

if sys.platform != "win32":
    import resource

_log = logging.getLogger("citemark.serve")

_BACKLOG = 2048
_OWN_FILES = 64  # what the service keeps open beside connections, generously
_DELIVERY_S = 2.0  # for answers that are ready, after the grace
_YOUNG_OBJECTS = 50_000


class DrainingServer(uvicorn.Server):
    """A server whose first signal drains the service instead of closing the socket.

    The caller configures logging.
    """

    def __init__(self, app: Citemark) -> None:
        self._admission, self._settings = app.admission, app.admission.settings
        self._judged_by = f"judge {self._settings.judge}, model {app.judge.identity.model}"
        if JUDGES[self._settings.judge].served:  # no secrets: no judge is made of a URL with one
            self._judged_by += f", at {', '.join(self._settings.server_urls)}"
        files, backlog, limit = _divide_files(self._settings)
        if limit < self._settings.max_connections:
            _log.warning("the limit of %d open files leaves %d connections", files, limit)
        connections = Connections(self._settings, limit)
        config = uvicorn.Config(
            app,
            host=self._settings.host,
            port=self._settings.port,
            http=partial(BoundedHttp, connections=connections),  # type: ignore[arg-type]
            ws="none",
            backlog=backlog,
            proxy_headers=False,  # the application reads them, under every server
            lifespan="on",  # "auto" would serve after a failed start
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=self._settings.keep_alive_s,
        )
        super().__init__(config)
        self._stop_wanted = False
        self._stop_by = math.inf

    @property
    def url(self) -> str:
        """The address, with the real port where 0 was asked for."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop(self) -> None:
        """Begin to drain at the next tick, within 0.1 s. Safe from any thread."""
        self._stop_wanted = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  uvicorn's
        """Drain at the first signal; at the second, end at once."""
        if not self._stop_wanted:
            self.stop()
            return
        self.should_exit = self.force_exit = True
        # uvicorn raises captured signals again at its end, so the process dies of this one.
        self._captured_signals.append(sig)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _log.info("serving on %s with %s", self.url, self._judged_by)

    async def on_tick(self, counter: int) -> bool:
        """Start draining where it is wanted; true when it is time to close."""
        if self._stop_wanted and not self._admission.draining:
            self._stop_by = time.monotonic() + self._settings.stop_grace_s
            self._admission.drain()
            _log.info("stopping: %d rollouts in flight", self._admission.rollouts.held)
        is_due = await super().on_tick(counter)
        if is_due or not self._admission.draining:
            return is_due
        held = self._admission.rollouts.held
        if held and time.monotonic() >= self._stop_by:
            grace_s = self._settings.stop_grace_s
            _log.warning("cutting %d rollouts off after %g s", held, grace_s)
            self._admission.cut()
            return True
        return held == 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket, and deliver ready answers within what is left of the grace."""
        left_s = self._stop_by - time.monotonic()
        wait_s = max(_DELIVERY_S, left_s) if math.isfinite(left_s) else _DELIVERY_S
        self.config.timeout_graceful_shutdown = math.ceil(wait_s)
        await super().shutdown(sockets)
        _log.info("stopped")


def _divide_files(settings: Settings) -> tuple[int, int, int]:
    """How many files the process may open, how many new connections may wait to be accepted, and
    how many accepted ones may be open, so that none fails for want of a descriptor.

    Raises `SettingsError` where that would be none.
    """
    own = _OWN_FILES
    if JUDGES[settings.judge].served:
        own += settings.judge_concurrency * len(settings.server_urls)
    wanted = settings.max_connections + _BACKLOG + own
    files = _raise_limit(wanted)
    # All that wait may be accepted in one turn of the loop, before any is counted.
    backlog = min(_BACKLOG, files // 8)
    limit = min(settings.max_connections, files - backlog - own)
    if limit < 1:
        message = f"a limit of {files} open files leaves none for callers; raise it (ulimit -n)"
        raise SettingsError(message)
    return files, backlog, limit


def _raise_limit(wanted: int) -> int:
    """How many files the process may open now: `wanted`, or fewer where the system allows fewer."""
    if sys.platform == "win32":  # which sets no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def run(app: Citemark) -> None:
    """Serve until a signal comes.

    Raises `SettingsError` where the port cannot be listened on, or others could reach a service
    without a token, and `no_token` does not say that they may.
    """
    settings = app.admission.settings
    if settings.api_token and settings.no_token:
        raise SettingsError("api_token and no_token contradict each other: leave one out")
    if not (settings.api_token or settings.no_token or is_loopback(settings.host)):
        raise SettingsError(
            f"others can reach {settings.host}: set CITEMARK_API_TOKEN (openssl rand -hex 32), "
            "or say --no-token"
        )
    start_log(settings)
    # What was built so far lives until the end. Unfrozen, each full collection walks it again,
    # which held the event loop for 150 ms in the middle of a large batch.
    gc.collect()
    gc.freeze()
    # A step's thousands of objects die by their reference counts; at the default of 700 they are
    # walked over and over, which took a tenth of the CPU.
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    server = DrainingServer(app)
    host, port = settings.host, settings.port
    with ExitStack() as stack:
        # Not left to uvicorn, which would end the process where the port is taken.
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            sockets = [
                stack.enter_context(socket.create_server(address, family=family))
                for family, *_, address in dict.fromkeys(found)
            ]
        except OSError as error:
            raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        server.run(sockets)
