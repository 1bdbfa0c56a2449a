"""From settings to a judge that never judges twice.

`verdict_cache` is one of

    off                                        nothing is kept; judgements are still shared
    memory://?entries=100000&mib=64            this process
    sqlite:///relative/path?entries=1000000&mib=512     a file (four slashes: absolute)
    redis://host:6379/0?ttl_s=604800&namespace=citemark a server; rediss:// over TLS

with its bounds as parameters. A store keeps verdicts in this process's memory as well.
"""

from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from citemark_service.errors import SettingsError
from citemark_service.judges.protocol import Judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.cache import VerdictCache
from citemark_service.verdicts.caching import CachingJudge
from citemark_service.verdicts.memory import Memory
from citemark_service.verdicts.sqlite import SqliteStore
from citemark_service.verdicts.store import Store

B = TypeVar("B", bound=BaseModel)

Count = Annotated[int, Field(ge=1)]

_MIB: Final = 1024 * 1024
_REDIS_TIMEOUT_S: Final = 0.5
_INSTALL_REDIS: Final = "pip install 'citemark[service,redis]'"


class _Bounds(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _MemoryBounds(_Bounds):
    entries: Count = 100_000
    mib: Count = 64


class _FileBounds(_Bounds):
    entries: Count = 1_000_000
    mib: Count = 512


class _ServerBounds(_Bounds):
    ttl_s: Count = 7 * 24 * 3600
    namespace: str = Field("citemark", min_length=1)


def remembering(judge: Judge, settings: Settings, metrics: Metrics) -> Judge:
    """`judge` with what `verdict_cache` says before it; the embedded one as it is, being instant.

    Raises:
        SettingsError: `verdict_cache` is none of the above, or names what is not installed.
    """
    if settings.judge == "embedded":
        return judge
    return CachingJudge(
        judge,
        cache=_cache(settings.verdict_cache, metrics),
        metrics=metrics,
        deadline_s=settings.judge_deadline_s,
        linger_s=settings.judge_linger_s,
    )


def _cache(url: str, metrics: Metrics) -> VerdictCache:
    if url == "off":
        return VerdictCache(memory=Memory(entries=0, max_bytes=0), store=None, metrics=metrics)
    scheme = urlsplit(url).scheme
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    bounds = _bounds(_MemoryBounds, query) if scheme == "memory" else _MemoryBounds()
    memory = Memory(entries=bounds.entries, max_bytes=bounds.mib * _MIB)
    return VerdictCache(memory=memory, store=_store(scheme, url, query), metrics=metrics)


def _store(scheme: str, url: str, query: dict[str, str]) -> Store | None:
    match scheme:
        case "memory":
            return None
        case "sqlite":
            return _file(url, _bounds(_FileBounds, query))
        case "redis" | "rediss":
            return _server(url, query)
    raise SettingsError("verdict_cache: off, memory://, sqlite:///PATH or redis://HOST")


def _file(url: str, bounds: _FileBounds) -> SqliteStore:
    parts = urlsplit(url)
    path = Path(unquote(parts.path.removeprefix("/")))
    if parts.netloc or not path.name:
        raise SettingsError("verdict_cache: sqlite:///relative/path or sqlite:////absolute/path")
    if not path.parent.is_dir():
        raise SettingsError(f"verdict_cache: there is no folder {path.parent}")
    return SqliteStore(path, entries=bounds.entries, max_bytes=bounds.mib * _MIB)


def _server(url: str, query: dict[str, str]) -> Store:
    try:
        from citemark_service.verdicts.redis import RedisStore  # noqa: PLC0415  needs an extra
    except ImportError as error:
        raise SettingsError(f"verdict_cache: Redis needs {_INSTALL_REDIS}") from error
    own = {name: value for name, value in query.items() if name in _ServerBounds.model_fields}
    others = {name: value for name, value in query.items() if name not in own}
    bounds = _bounds(_ServerBounds, own)
    return RedisStore(
        urlunsplit(urlsplit(url)._replace(query=urlencode(others))),
        namespace=bounds.namespace,
        ttl_s=bounds.ttl_s,
        timeout_s=_REDIS_TIMEOUT_S,
    )


def _bounds(kind: type[B], query: dict[str, str]) -> B:
    try:
        return kind.model_validate(query)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise SettingsError(f"verdict_cache: {first['loc'][0]}: {first['msg']}") from error
