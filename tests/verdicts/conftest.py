"""Fixtures of the verdict cache's tests."""

import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from citemark_service.judges.tasks import Judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.caching import CachingJudge
from citemark_service.verdicts.factory import cache_verdicts

_PATIENCE_S = 20.0


class CacheLog(Metrics):
    """Metrics with what the cache reports at hand."""

    @property
    def origins(self) -> Counter[str]:
        """Verdicts by where they came from."""
        return self._series("verdicts_total", "from", ("judge", "cache", "joined"))

    @property
    def errors(self) -> Counter[str]:
        """Failures by operation."""
        return +self._series("cache_errors_total", "operation", ("read", "write", "value"))

    @property
    def entries(self) -> float | None:
        """Verdicts in memory."""
        return self.registry.get_sample_value("citemark_cache_entries")

    def _series(self, name: str, label: str, values: Iterable[str]) -> Counter[str]:
        of = partial(self.registry.get_sample_value, f"citemark_{name}")
        return Counter({value: int(of({label: value}) or 0) for value in values})


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
