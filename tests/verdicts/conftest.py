"""Fixtures of the verdict cache's tests."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from citemark_service.judges.tasks import Judge
from citemark_service.settings import Settings
from citemark_service.verdicts.caching import CachingJudge, cache_verdicts
from support.readable_metrics import ReadableMetrics
from support.scripted_service import free_url


class CacheLog(ReadableMetrics):
    @property
    def origins(self) -> dict[str, int]:
        return self.counts("verdicts_total", "from", ("judge", "cache", "joined"))

    @property
    def errors(self) -> dict[str, int]:
        return self.counts("cache_errors_total", "operation", ("read", "write", "value"))


Remember = Callable[..., CachingJudge]
"""`remember(judge, verdict_cache="off", judge_linger_s=0.1)`: `judge` behind the cache."""


@pytest.fixture
def log() -> CacheLog:
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

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, empty, and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        with redis.Redis(port=self.port, retry=Retry(ConstantBackoff(0.02), 1000)) as client:
            client.ping()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian package redis-server)")
    server = RedisServer(int(free_url().rpartition(":")[2]), tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The setting for each store that outlives the process."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/verdicts.db"
    return str(request.getfixturevalue("redis_server").url)
