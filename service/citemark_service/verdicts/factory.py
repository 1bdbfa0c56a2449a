"""Building the cache of verdicts that the settings name.

`verdict_cache` is one of

    off                                        nothing is cached; judgements are still shared
    memory://?entries=100000&mib=64            this process
    sqlite:///relative/path?entries=1000000&mib=512     a file (four slashes: absolute)
    redis://host:6379/0?ttl_s=604800&namespace=citemark a server; rediss:// over TLS

with its bounds as parameters. A file or server has this process's memory in front.
"""

from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, Field, ValidationError

from citemark_service.errors import SettingsError
from citemark_service.judges.tasks import Judge
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.cache import Memory, VerdictCache
from citemark_service.verdicts.caching import CachingJudge
from citemark_service.verdicts.store import BatchedStore, SqliteStore, VerdictStore

B = TypeVar("B", bound=BaseModel)

Count = Annotated[int, Field(ge=1)]

_MIB: Final = 1024 * 1024


class _MemoryBounds(BaseModel, extra="forbid", frozen=True):
    entries: Count = 100_000
    mib: Count = 64


class _FileBounds(_MemoryBounds):
    entries: Count = 1_000_000
    mib: Count = 512


class _ServerBounds(BaseModel, extra="forbid", frozen=True):
    ttl_s: Count = 7 * 24 * 3600
    namespace: str = Field("citemark", min_length=1)


def cache_verdicts(judge: Judge, settings: Settings, metrics: Metrics) -> Judge:
    """Put the cache that `verdict_cache` names before `judge`; return an instant judge as it is.

    Raises `SettingsError` for another form of `verdict_cache`, or a package not installed.
    """
    if judge.instant:
        return judge
    parts = urlsplit(settings.verdict_cache)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    bounds, store = _MemoryBounds(), None
    match parts.scheme:
        case "memory":
            bounds = _parse_bounds(_MemoryBounds, query)
        case "sqlite":
            store = BatchedStore(_sqlite_store(parts, query), metrics=metrics)
        case "redis" | "rediss":
            store = BatchedStore(_redis_store(parts, query), metrics=metrics)
        case _ if settings.verdict_cache != "off":
            raise SettingsError("verdict_cache: off, memory://, sqlite:///PATH or redis://HOST")
    entries = 0 if settings.verdict_cache == "off" else bounds.entries
    memory = Memory(entries=entries, max_bytes=bounds.mib * _MIB)
    cache = VerdictCache(memory, store, metrics=metrics)
    return CachingJudge(judge, cache, settings=settings, metrics=metrics)


def _sqlite_store(url: SplitResult, query: dict[str, str]) -> VerdictStore:
    bounds = _parse_bounds(_FileBounds, query)
    path = Path(unquote(url.path.removeprefix("/")))
    if url.netloc or not path.name:
        raise SettingsError("verdict_cache: sqlite:///relative/path or sqlite:////absolute/path")
    if not path.parent.is_dir():
        raise SettingsError(f"verdict_cache: there is no folder {path.parent}")
    return SqliteStore(path, entries=bounds.entries, max_bytes=bounds.mib * _MIB)


def _redis_store(url: SplitResult, query: dict[str, str]) -> VerdictStore:
    try:
        from citemark_service.verdicts.redis import RedisStore  # noqa: PLC0415  needs an extra
    except ImportError as error:
        install = "pip install 'citemark[service,redis]'"
        raise SettingsError(f"verdict_cache: Redis needs {install}") from error
    own = {name: query.pop(name) for name in _ServerBounds.model_fields if name in query}
    bounds = _parse_bounds(_ServerBounds, own).model_dump()
    rest = urlunsplit(url._replace(query=urlencode(query)))  # other parameters are the client's
    return RedisStore(rest, **bounds, timeout_s=0.5)


def _parse_bounds(kind: type[B], query: dict[str, str]) -> B:
    try:
        return kind.model_validate(query)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise SettingsError(f"verdict_cache: {first['loc'][0]}: {first['msg']}") from error
