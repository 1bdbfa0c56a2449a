"""What is written can be read, once, in both databases; and the oldest goes first."""

import math
import random
import time
from dataclasses import replace

import pytest
from sqlalchemy import inspect, select

from citemark_schemas import Failure, FailureKind, FormatReport
from citemark_service.errors import LedgerError, SettingsError
from citemark_service.ledger.database import migrate, open_engine
from citemark_service.ledger.reading import LedgerReader, Place
from citemark_service.ledger.store import LedgerStore, Written
from citemark_service.ledger.tables import groups, metadata, prompts, rollouts, steps

FAILURE = Failure(kind=FailureKind.TIMEOUT, message="no answer", retryable=True)


def store_of(engine, max_bytes=2**40, max_days=None) -> LedgerStore:
    return LedgerStore(engine, max_bytes=max_bytes, max_days=max_days, prune_every_s=0.0)


def rows(engine, table):
    with engine.connect() as connection:
        return [row._asdict() for row in connection.execute(select(table))]


# SQLite's reflection cannot tell an index over an expression, and says so.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection:sqlalchemy.exc.SAWarning")
def test_writing_nothing_makes_the_tables_that_the_code_describes(engine):
    assert store_of(engine).write([]) == Written()
    found = inspect(engine)
    for table in metadata.sorted_tables:
        made = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert made == {column.name: column.nullable for column in table.columns}
        indexes = {index["name"] for index in found.get_indexes(table.name)}
        named = {index.name for index in table.indexes}
        assert named - indexes <= {"groups_by_spread"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_ledger_of_a_newer_version_is_left_alone(engine, make):
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer Citemark"):
        store_of(engine).write([make(0)])


STEP = {"run": "a", "step": 3}


TWICE = [{"at": 1.0}, {"at": 2.0}]
BATCHES = {
    "posted again": ([[STEP, STEP | {"at": 2e3}], [STEP | {"at": 3e3}]], 1),
    "failed and came again": ([[STEP | {"reward": None, "failure": FAILURE}], [STEP]], 2),
    "each post without run and step": ([TWICE], 2),
    "written again since nobody knows whether it was": (2 * [[*TWICE, {"at": 1.0, "run": "a"}]], 3),
    "answered alike in other places": ([[STEP | {"position": place} for place in range(8)]], 8),
    "in two steps": ([[STEP, STEP | {"step": 4}]], 2),
}


@pytest.mark.parametrize(("batches", "kept"), BATCHES.values(), ids=BATCHES)
def test_samples_are_kept_once(engine, make, batches, kept):
    store = store_of(engine)
    written = [store.write([make(1, **fields) for fields in batch]) for batch in batches]
    assert sum(each.kept for each in written) == len(rows(engine, rollouts)) == kept
    assert [each.kept + each.again for each in written] == list(map(len, batches))
    sums = rows(engine, steps)
    assert sum(step["rollouts"] for step in sums) == kept
    assert sum(step["failed"] for step in sums) == sum(
        "failure" in fields for batch in batches for fields in batch
    )
    assert max(step["last_at"] for step in sums) <= 1000.0
    assert len(rows(engine, prompts)) == 1


def test_names_that_no_index_takes_are_cut_and_stay_apart(engine, make):
    dice = random.Random(0)
    long = "".join(chr(dice.randrange(0x1F300, 0x1F600)) for _ in range(511))
    run = long[:256]
    entries = [make(index, run=run, step=1, group=long + str(index)) for index in range(2)]
    assert store_of(engine).write(entries) == Written(kept=2)
    assert len(rows(engine, groups)) == 2
    (kept,) = LedgerReader(engine).rollouts(Place(run=run, group=long + "1"), limit=9)
    assert kept["sample_id"] == entries[1].result.id


def test_a_ledger_of_this_version_is_not_written_to_be_opened(tmp_path, make):
    path = tmp_path / "ledger.db"
    engine = open_engine(f"sqlite:///{path}")
    store_of(engine).write([make(0)])
    with engine.connect() as holder:
        holder.exec_driver_sql("BEGIN IMMEDIATE")
        assert len(LedgerReader(open_engine(f"sqlite:///{path}")).runs()) == 1
    engine.dispose()


def sums_of(members: list[dict]) -> dict[str, float | None]:
    """What `steps` and `groups` hold of these rows of `rollouts`, by their definitions."""
    given = {name: [row[name] for row in members if row[name] is not None] for name in members[0]}
    judged = [(row["reward"], row["chars"]) for row in members if row["reward"] is not None]
    rewards, times = given["reward"], given["at"]
    return {
        "rollouts": len(members),
        "rewarded": len(rewards),
        "failed": len(given["failure"]),
        "refused": len(given["refusal"]),
        "judged": len(given["rubric_reward"]),
        "cited": len(given["citation_f1"]),
        "reward_sum": math.fsum(rewards),
        "reward_squares": math.fsum(reward**2 for reward in rewards),
        "reward_min": min(rewards, default=None),
        "reward_max": max(rewards, default=None),
        "rubric_sum": math.fsum(given["rubric_reward"]),
        "f1_sum": math.fsum(given["citation_f1"]),
        "format_sum": math.fsum(given["format_bonus"]),
        "fabricated": sum(given["fabricated"]),
        "addressed": sum(count > 0 for count in given["addressed"]),
        "chars_sum": sum(given["chars"]),
        "chars_squares": sum(chars**2 for _, chars in judged),
        "chars_reward": math.fsum(reward * chars for reward, chars in judged),
        "first_at": min(times),
        "last_at": max(times),
    }


@pytest.mark.parametrize("size", [1, 3, 32])
def test_sums_are_those_of_the_rollouts_whatever_the_batches(engine, make, size):
    lost = {"reward": None, "rubric_reward": None, "citation": None, "failure": FAILURE}
    told = {"format": FormatReport(checks={}, bonus=0.5, judge_addressed=("a", "b"))}
    entries = [
        make(n, run="a", step=n // 8, group=f"g{n % 2}", at=1000.0 - n % 5, **fields)
        for n in range(32)
        for fields in ((lost,) if n > 23 or n % 7 == 1 else (told,) if n % 5 == 1 else ({},))
    ]
    store = store_of(engine)
    for start in range(0, 32, size):
        store.write(entries[start : start + size])
    kept = rows(engine, rollouts)
    for table, count in ((steps, 4), (groups, 8)):
        key, found = table.primary_key.columns.keys(), rows(engine, table)
        assert len(found) == count
        for row in found:
            place = {name: row.pop(name) for name in key}
            sums = sums_of([each for each in kept if place.items() <= each.items()])
            assert row == pytest.approx({name: sums[name] for name in row})


def test_rewards_are_kept_without_their_scale(engine, make):
    result = make(0).result
    knobs = result.knobs.model_copy(update={"verification_reward": 10.0})
    store_of(engine).write([make(0, knobs=knobs, reward=10 * result.reward)])
    (row,) = rows(engine, rollouts)
    assert (row["reward"], row["scale"]) == (pytest.approx(result.reward), 10.0)


def test_what_is_too_old_goes_with_its_prompt_and_its_group_but_not_its_curve(engine, make):
    now = time.time()
    store = store_of(engine, max_days=1)
    store.write([make(0, run="a", step=1, at=now - 90_000)])
    store.write([make(15, run="a", step=2, at=now)])
    store.tidy()
    kept = [[row["step"] for row in rows(engine, table)] for table in (rollouts, groups, steps)]
    assert kept == [[2], [2], [1, 2]]
    assert len(rows(engine, prompts)) == 1


def test_what_is_too_much_goes_oldest_first(engine, make):
    store = store_of(engine, max_bytes=1_000_000)
    for batch in range(10):
        store.write([make(index, at=float(batch), position=index) for index in range(250)])
        store.tidy()
    kept = [row["at"] for row in rows(engine, rollouts)]
    assert 0 < len(kept) < 2_000
    assert min(kept) > 0


def changed(entry, step=1, **fields):
    return replace(entry, step=step, rollout=entry.rollout.model_copy(update=fields))


@pytest.mark.parametrize("fields", [{"step": 2**70}, {"response": "\ud800"}])
def test_what_no_database_takes_costs_only_itself(engine, make, caplog, fields):
    refused = changed(make(1, run="a private run", step=1), **fields)
    assert store_of(engine).write([make(0), refused, make(2)]) == Written(kept=2, refused=1)
    assert len(rows(engine, rollouts)) == 2
    assert "cannot be kept" in caplog.text
    assert "a private run" not in caplog.text


@pytest.mark.parametrize("text", ["who\0?", "\ud800", "é\U0001f600"])
def test_odd_characters_are_no_trouble_elsewhere(engine, make, text):
    entry = changed(make(0, run="a", step=1), question=text, tool_output=text)
    assert store_of(engine).write([entry]) == Written(kept=1)
    assert len(rows(engine, rollouts)) == 1


@pytest.mark.parametrize("address", ["mysql://h/d", "nonsense", "sqlite", "oracle://h"])
def test_another_address_is_refused(address):
    with pytest.raises(SettingsError, match="ledger: off, sqlite"):
        open_engine(address)


@pytest.mark.parametrize(
    "address", ["user:hidden@127.0.0.1:1/none", "127.0.0.1:1/none?password=hidden"]
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(make, address):
    engine = open_engine(f"postgresql://{address}")
    with pytest.raises(LedgerError) as told:
        store_of(engine).write([make(0)])
    assert "hidden" not in str(told.value)
    assert "127.0.0.1" in str(told.value)
