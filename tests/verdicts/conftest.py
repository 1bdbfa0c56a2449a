"""Fixtures of the verdict cache's tests."""

import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from citemark_service.judges.protocol import Judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import CacheOperation, Metrics
from citemark_service.verdicts.caching import CachingJudge
from citemark_service.verdicts.factory import cache_verdicts

_PATIENCE_S = 20.0


class CacheLog(Metrics):
    """Sums up what the cache reports."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.entries = 0

    def verdicts(self, *, judge: int, cache: int, joined: int) -> None:
        self.origins.update(judge=judge, cache=cache, joined=joined)

    def cache_error(self, operation: CacheOperation) -> None:
        self.errors[operation] += 1

    def cache_size(self, entries: int) -> None:
        self.entries = entries


Remember = Callable[..., CachingJudge]
"""`remember(judge, verdict_cache="off", judge_linger_s=0.1)`: `judge` behind the cache."""


@pytest.fixture
def log() -> CacheLog:
    """What the cache of `remember` reported."""
    return CacheLog()


@pytest.fixture
def remember(log: CacheLog) -> Remember:
    """See `Remember`; the test closes what it builds, where that matters."""

    def built(judge: Judge, **settings: object) -> CachingJudge:
        table = Settings.model_validate({"judge": "vllm", **settings})
        found = cache_verdicts(judge, table, log)
        assert isinstance(found, CachingJudge)
        return found

    return built


@dataclass
class RedisServer:
    """A real server on loopback, without persistence."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, empty, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        end = time.monotonic() + _PATIENCE_S
        while not self._answers():
            assert time.monotonic() < end, "redis-server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server, killed with the test."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian package redis-server)")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = RedisServer(port, tmp_path)
    server.start()
    yield server
    server.kill()
