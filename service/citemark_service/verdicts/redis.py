"""Verdicts on a Redis server that several services share.

A verdict expires `ttl_s` after it was written. To bound the memory too, set `maxmemory` and an
LRU policy on the server. Who can write there decides rewards.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from citemark_service.errors import SettingsError
from citemark_service.verdicts.store import StoreError


class RedisStore:
    """A `VerdictStore` without retries; keys are `namespace:` and the verdict's key in hex."""

    def __init__(self, url: str, *, namespace: str, ttl_s: int, timeout_s: float) -> None:
        """Connect lazily. Raises `SettingsError`, without the URL, if that is invalid."""
        self._prefix = f"{namespace}:".encode()
        self._ttl_s = ttl_s
        try:
            self._client: Redis = Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                max_connections=4,
            )
            # Creates no connection, but fails for an unknown option of the URL.
            self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # theirs
        except (ValueError, TypeError, AttributeError) as error:
            raise SettingsError(f"verdict_cache: not a Redis URL: {error}") from error
        facts = self._client.connection_pool.connection_kwargs
        self.name = f"redis {facts.get('host')}:{facts.get('port', 6379)}/{facts.get('db', 0)}"

    async def read(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        async with _store_errors():
            values = await self._client.mget(map(self._redis_key, keys))
        pairs = zip(keys, values, strict=True)
        return {key: value for key, value in pairs if isinstance(value, bytes)}

    async def write(self, entries: Mapping[bytes, bytes]) -> None:
        async with _store_errors(), self._client.pipeline(transaction=False) as pipeline:
            for key, value in entries.items():
                pipeline.set(self._redis_key(key), value, ex=self._ttl_s)
            await pipeline.execute()

    async def aclose(self) -> None:
        with suppress(RedisError, OSError):  # the connection may be lost already
            await self._client.aclose()

    def _redis_key(self, key: bytes) -> bytes:
        return self._prefix + key.hex().encode()


@asynccontextmanager
async def _store_errors() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreError(str(error) or type(error).__name__) from error
