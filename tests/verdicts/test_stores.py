"""Stores keep what they are given, within bounds; their trouble is a miss, their setting named."""

import asyncio
import logging
import sqlite3
import sys
from contextlib import closing

import pytest
import redis

from citemark_service.errors import SettingsError
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import Meter
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.cache import Memory
from citemark_service.verdicts.caching import cache_verdicts
from citemark_service.verdicts.redis import RedisStore
from citemark_service.verdicts.store import BatchedStore, SqliteStore, StoreError
from support.in_process_judges import CountingJudge
from support.judge_tasks import claims_task, criteria_task
from support.waiting import until


def keys(count, start=0):
    return [b"%032d" % number for number in range(start, start + count)]


def file_store(path, entries=10_000, max_bytes=10_000_000):
    return SqliteStore(path, entries=entries, max_bytes=max_bytes)


def server_store(url, ttl_s=60, namespace="test"):
    return RedisStore(url, namespace=namespace, ttl_s=ttl_s, timeout_s=1.0)


@pytest.fixture
def store(url, tmp_path):
    return server_store(url) if url.startswith("redis") else file_store(tmp_path / "verdicts.db")


async def ask(judge):
    meter = Meter()
    criteria = await judge.judge_criteria(criteria_task(), meter=meter, deadline=None)
    citations = await judge.judge_citations(claims_task(), meter=meter, deadline=None)
    return meter, (criteria, citations)


async def unharmed(cached):
    """Ask, and hold the answer to what the judge says alone."""
    meter, verdicts = await ask(cached)
    assert verdicts == (await ask(CountingJudge()))[1]
    return meter


async def refilled(remember, url):
    """A service's cache after another service has kept all verdicts in the store and ended."""
    cached = remember(CountingJudge(), verdict_cache=url)
    await ask(cached)
    await cached.aclose()
    return remember(CountingJudge(), verdict_cache=url)


def change(path, statement, *values):
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement, values)


async def test_what_is_written_is_read_and_the_last_wins(store):
    entries = {key: b"v" + key for key in keys(400)}
    assert await store.read(keys(3)) == {}
    await store.write(entries)
    await store.write({keys(1)[0]: b"later"})
    assert await store.read(keys(500)) == entries | {keys(1)[0]: b"later"}
    await store.aclose()


async def test_what_a_store_had_is_in_memory_from_then_on(tmp_path, remember):
    again = await refilled(remember, f"sqlite:///{tmp_path}/verdicts.db")
    await ask(again)
    change(tmp_path / "verdicts.db", "DELETE FROM verdicts")
    assert (await unharmed(again)).all_kept
    await again.aclose()


async def test_what_a_store_had_is_told_as_cached_to_who_joins(url, remember, log):
    again = await refilled(remember, url)
    meters = [meter for meter, _ in await asyncio.gather(ask(again), ask(again))]
    assert [meter.all_kept for meter in meters] == [True, True]
    assert log.origins["joined"] == 0
    await again.aclose()


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"null", b'{"score":2}', b'{"score":"NaN"}', b'{"support":1}', b"\xff",
     b'{"support":1,"substantive":1,"contributing":{"1":1}}'],
)  # fmt: skip
async def test_a_value_that_is_no_verdict_is_judged_again(tmp_path, remember, log, value):
    again = await refilled(remember, f"sqlite:///{tmp_path}/verdicts.db")
    change(tmp_path / "verdicts.db", "UPDATE verdicts SET value = ?", value)
    assert (await unharmed(again)).usage.calls == 2
    assert log.errors["value"] == 6
    await again.aclose()


async def test_verdicts_that_were_kept_without_variances_are_read_as_they_are(tmp_path, remember):
    again = await refilled(remember, f"sqlite:///{tmp_path}/verdicts.db")
    bare = "CAST(json_remove(CAST(value AS TEXT), '$.variance', '$.variances') AS BLOB)"
    change(tmp_path / "verdicts.db", f"UPDATE verdicts SET value = {bare}")
    meter, (criteria, citations) = await ask(again)
    assert meter.all_kept
    assert {each.variance for each in (*criteria, *citations.sentences)} == {None}
    assert {each.variances for each in citations.claims} == {None}
    await again.aclose()


async def test_a_file_keeps_the_youngest_rows(tmp_path):
    store = file_store(tmp_path / "v.db", entries=100)
    for start in range(0, 500, 50):
        await store.write(dict.fromkeys(keys(50, start), b"x"))
    assert [*await store.read(keys(500))] == keys(100, 400)
    await store.aclose()


async def test_a_file_keeps_within_its_bytes(tmp_path):
    store = file_store(tmp_path / "v.db", max_bytes=300_000)
    for start in range(0, 4_000, 100):
        await store.write(dict.fromkeys(keys(100, start), b"x" * 400))
    kept = await store.read(keys(4_000))
    await store.aclose()
    assert (tmp_path / "v.db").stat().st_size < 400_000
    assert list(kept) == keys(len(kept), 4_000 - len(kept))
    assert len(kept) > 300


async def test_two_services_share_a_file(tmp_path):
    stores = [file_store(tmp_path / "v.db") for _ in range(2)]
    for one in stores:
        await one.read(keys(1))
    for number in range(20):
        await asyncio.gather(*(s.write({b"%d-%d" % (number, id(s)): b"x"}) for s in stores))
    wanted = [b"%d-%d" % (number, id(s)) for number in range(20) for s in stores]
    assert len(await stores[0].read(wanted)) == 40
    for one in stores:
        await one.aclose()


async def test_redis_forgets_after_a_while_and_keeps_to_its_namespace(redis_server):
    store = server_store(redis_server.url, ttl_s=60)
    await store.write({b"k": b"v"})
    await store.aclose()
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys() == [b"test:6b"]
        assert 0 < client.ttl("test:6b") <= 60


async def test_trouble_is_told_once_and_its_end_too(redis_server, log, caplog):
    caplog.set_level(logging.INFO, "citemark.verdicts")
    store = BatchedStore(server_store(redis_server.url), metrics=log, pause_s=0.0)
    redis_server.kill()
    for count in range(1, 5):
        assert await store.read([b"k"]) == {}
        store.write({b"k": b"w"})
        await until(lambda: log.errors["write"] == count)  # noqa: B023
    redis_server.start()
    assert await store.read([b"k"]) == {}
    store.write({b"k": b"v"})
    await store.aclose()
    assert log.errors == {"read": 4, "write": 4, "value": 0}
    begin, end = [record.message for record in caplog.records]
    assert f"redis 127.0.0.1:{redis_server.port}/0: cannot read" in begin
    assert "works again" in end
    other = server_store(redis_server.url)
    assert await other.read([b"k"]) == {b"k": b"v"}
    await other.aclose()


class Slow:
    """A store that holds each call until its gate opens, and notes its size."""

    name = "slow"

    def __init__(self):
        self.gate = asyncio.Event()
        self.reads = []
        self.writes = []

    async def read(self, keys):
        self.reads.append(len(keys))
        await self.gate.wait()
        return dict.fromkeys(keys, b"v")

    async def write(self, entries):
        self.writes.append(len(entries))
        await self.gate.wait()

    async def aclose(self):
        await self.gate.wait()


async def test_a_store_that_hangs_is_left_alone_for_a_while(log, caplog):
    slow = Slow()
    store = BatchedStore(slow, metrics=log, timeout_s=0.02, pause_s=60.0)
    for _ in range(3):
        assert await store.read([b"k"]) == {}
        store.write({b"k": b"v"})
    await store.aclose()
    assert (slow.reads, slow.writes) == ([1], [])
    assert "no answer within 0.02 s" in caplog.text
    assert "slow did not close" in caplog.text


@pytest.mark.parametrize("name", ["/dev/full", "v.db"], ids=["no room", "no database"])
async def test_a_file_that_cannot_be_used_is_a_miss(tmp_path, remember, log, name):
    (tmp_path / "v.db").write_bytes(b"not a database" * 1000)
    cached = remember(CountingJudge(), verdict_cache=f"sqlite:///{tmp_path / name}")
    assert (await unharmed(cached)).usage.calls == 2
    await cached.aclose()
    assert log.errors["read"] >= 1


async def test_a_file_that_is_locked_is_a_store_error(tmp_path):
    store = file_store(tmp_path / "v.db")
    await store.write({b"k": b"v"})
    other = sqlite3.connect(tmp_path / "v.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        await store.write({b"k": b"w"})
    other.execute("ROLLBACK")
    other.close()
    await store.write({b"k": b"w"})
    assert await store.read([b"k"]) == {b"k": b"w"}
    await store.aclose()


async def test_many_reads_are_few(log):
    slow = Slow()
    batches = BatchedStore(slow, metrics=log, timeout_s=60.0)
    tasks = [asyncio.create_task(batches.read([key])) for key in keys(50)]
    await until(lambda: slow.reads)
    tasks += [asyncio.create_task(batches.read([key])) for key in keys(600, 50)]
    tasks[0].cancel()
    await asyncio.sleep(0)
    slow.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1:] == [{key: b"v"} for key in keys(650)[1:]]
    assert slow.reads == [50, 500, 100]


async def test_many_writes_are_few_and_all_done_before_the_end(log):
    slow = Slow()
    batches = BatchedStore(slow, metrics=log, timeout_s=60.0)
    for key in keys(60):
        batches.write({key: b"v"})
    await until(lambda: slow.writes)
    for key in keys(600, 60):
        batches.write({key: b"v"})
    slow.gate.set()
    await batches.aclose()
    assert slow.writes == [60, 500, 100]


async def test_writes_that_find_no_room_are_counted(log):
    slow = Slow()
    slow.gate.set()
    batches = BatchedStore(slow, metrics=log)
    batches.write(dict.fromkeys(keys(60_000), b"v"))
    batches.write(dict.fromkeys(keys(1), b"v"))
    assert log.errors["write"] == 1
    await batches.aclose()


def test_memory_puts_out_what_was_used_longest_ago():
    memory = Memory(entries=3, max_bytes=1_000_000)
    one, two, three, four = keys(4)
    for key in (one, two, three):
        memory.put(key, b"v")
    assert memory.get(one) == b"v"
    memory.put(four, b"v")
    assert [key for key in keys(4) if memory.get(key)] == [one, three, four]
    assert len(memory) == 3


def test_memory_keeps_within_its_bytes():
    memory = Memory(entries=10_000, max_bytes=100_000)
    for key in keys(1_000):
        memory.put(key, b"x" * 400)
    memory.put(keys(1)[0], b"x" * 200_000)
    assert 90_000 < memory.currsize <= 100_000
    assert 120 < len(memory) < 140


def test_the_embedded_judge_is_left_as_it_is():
    judge = EmbeddedJudge()
    assert cache_verdicts(judge, Settings(judge="embedded"), Metrics()) is judge


@pytest.mark.parametrize(
    "setting",
    [
        "off",
        "memory://",
        "memory://?entries=10&mib=1",
        "sqlite:///verdicts.db?entries=5&mib=1",
        "redis://:secret@127.0.0.1:6379/3?ttl_s=5&namespace=n&health_check_interval=9",
        "rediss://example.org",
    ],
)
async def test_what_is_allowed(remember, setting):
    remember(CountingJudge(), verdict_cache=setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("", "off, memory://, sqlite:///PATH or redis://HOST"),
        ("postgres://x", "off, memory://"),
        ("memory://?entries=0", "entries: .* greater than or equal to 1"),
        ("memory://?entry=5", "entry: Extra inputs"),
        ("memory://?mib=", "mib: .*integer"),
        ("sqlite://verdicts.db", "sqlite:///relative/path"),
        ("sqlite:///", "sqlite:///relative/path"),
        ("sqlite:////no-such-folder/verdicts.db", "no folder /no-such-folder"),
        ("sqlite:///verdicts.db?ttl_s=5", "ttl_s: Extra inputs"),
        ("redis://h?ttl_s=soon", "ttl_s: .*integer"),
        ("redis://:hush@h:port", "not a Redis URL"),
        ("redis://h?db=x", "not a Redis URL"),
        ("redis://h?no_such_option=1", "not a Redis URL"),
    ],
)
def test_what_is_not_is_named(remember, setting, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        remember(CountingJudge(), verdict_cache=setting)
    assert "hush" not in f"{refusal.value} {Settings(verdict_cache=setting)!r}"  # the password


def test_the_extra_is_named_where_redis_is_missing(remember, monkeypatch):
    monkeypatch.delitem(sys.modules, "citemark_service.verdicts.redis", raising=False)
    for name in ("redis", *(name for name in sys.modules if name.startswith("redis."))):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"citemark\[service,redis\]"):
        remember(CountingJudge(), verdict_cache="redis://h")
