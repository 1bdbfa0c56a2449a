"""What was written is found again, by place and whole."""

import itertools

import pytest
from sqlalchemy import delete, text, update

from citemark_service.errors import LedgerError
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.reading import LedgerReader, Place
from citemark_service.ledger.store import LedgerStore
from citemark_service.ledger.tables import pack, prompts, rollouts


@pytest.fixture
def reader(engine, make):
    """Two runs of two steps, eight rollouts a step in two groups, and one without a place."""
    store = LedgerStore(engine, max_bytes=2**40, max_days=None)
    for (number, run), step in itertools.product(enumerate("ab"), range(2)):
        at, place = 100.0 * number + 10 * step, {"run": run, "step": step}
        store.write([make(n, at=at + n, group=f"g{n // 4}", **place) for n in range(8)])
    store.write([make(3)])
    return LedgerReader(engine)


def test_runs_come_latest_first_with_their_sums(reader):
    runs = [(run["run"], run["rollouts"], run["steps"]) for run in reader.runs()]
    assert runs == [("", 1, 1), ("b", 16, 2), ("a", 16, 2)]


@pytest.fixture
def stretched(engine, make):
    """A run whose steps are 0 to 2 and 10, with two rollouts each."""
    entries = [make(n, run="a", step=n // 2) for n in range(6)]
    entries += [make(n, run="a", step=10) for n in (6, 7)]
    LedgerStore(engine, max_bytes=2**40, max_days=None).write(entries)
    return LedgerReader(engine)


@pytest.mark.parametrize("points", [1, 2, 3, 5, 11, 100])
def test_a_curve_has_few_points_that_hold_every_rollout(stretched, points):
    curve = stretched.curve("a", points=points)
    assert 1 <= len(curve) <= points
    assert sum(each["rollouts"] for each in curve) == 8
    assert (curve[0]["step"], curve[-1]["last"]) == (0, 10)
    reward = sum(step["reward_sum"] for step in stretched.latest_steps("a", limit=100))
    assert sum(each["reward_sum"] for each in curve) == pytest.approx(reward)


def test_steps_come_from_the_last_to_the_first_piece_by_piece(stretched):
    assert [row["step"] for row in stretched.latest_steps("a", limit=2)] == [10, 2]
    assert [row["step"] for row in stretched.latest_steps("a", before=2, limit=9)] == [1, 0]
    assert stretched.neighbours("a", 2) == (1, 10)
    assert stretched.neighbours("a", 10) == (2, None)
    assert stretched.curve("b", points=10) == stretched.latest_steps("b", limit=10) == []


def test_a_window_holds_the_latest_and_excerpts_go_as_far_as_there_is_room(reader):
    rows = reader.window("a", 1, limit=5)
    assert [row["seq"] for row in rows] == [16, 15, 14, 13, 12]
    assert len(reader.samples(rows)) == 5
    long = [{**rows[0], "chars": 23_999_990}, *rows[1:]]
    assert [sample.row["seq"] for sample in reader.samples(long)] == [16]
    (bare,) = reader.window("", -1)
    (question,) = reader.questions([bare, *rows]).values()
    assert question.endswith("?") or len(question) == 100
    assert reader.questions(rows) == {}


def test_groups_come_with_the_widest_spread_first(reader):
    found = reader.groups(Place(run="a"), limit=10)
    spreads = [group["reward_max"] - group["reward_min"] for group in found]
    assert len(found) == 4
    assert spreads == sorted(spreads, reverse=True)


def test_rollouts_of_a_place_can_be_filtered_and_sorted(reader):
    place = Place(run="b", step=1, group="g1")
    found = reader.rollouts(place, order=[rollouts.c.reward.desc()], limit=3)
    rewards = [row["reward"] for row in found]
    assert len(found) == 3
    assert rewards == sorted(rewards, reverse=True)
    refused = reader.rollouts(Place(run="b"), rollouts.c.refusal.is_not(None), limit=100)
    assert all(row["refusal"] for row in refused)


def test_one_rollout_comes_back_whole(reader, make):
    (row,) = reader.rollouts(Place(run="a", step=1), limit=1)
    kept = reader.rollout(row["seq"])
    assert (kept.run, kept.step, kept.group) == ("a", 1, "g0")
    assert kept.rollout == make(0, group="g0").rollout
    assert kept.result == make(0).result
    assert reader.rollout(10**9) is None


def test_whole_rollouts_come_in_order_whatever_the_page(reader, monkeypatch):
    monkeypatch.setattr("citemark_service.ledger.reading._PAGE", 5)
    numbers = reader.numbers(Place())
    everything = list(reader.whole(numbers))
    assert [kept.seq for kept in everything] == sorted(numbers)
    assert len(everything) == 33
    assert everything[-1].run is everything[-1].step is None
    assert len(list(reader.whole(reader.numbers(Place(run="a", step=0))))) == 8


def test_groups_can_be_had_one_after_the_other(reader, engine, make):
    late = make(9, run="a", step=0, group="g0")
    LedgerStore(engine, max_bytes=2**40, max_days=None).write([late])
    found = reader.whole(reader.numbers(Place(run="a"), grouped=True))
    places = [(kept.step, kept.group) for kept in found]
    assert places == sorted(places)
    assert len(places) == 17


def test_what_goes_while_it_is_read_is_left_out(reader, engine):
    numbers = reader.numbers(Place())
    with engine.begin() as connection:
        connection.execute(delete(rollouts).where(rollouts.c.seq <= 3))
    assert len(list(reader.whole(numbers))) == 30


def damage(engine, column, value):
    with engine.begin() as connection:
        connection.execute(update(column.table).values({column: value}))


@pytest.mark.parametrize(
    "detail",
    [b"no zlib", pack(b"no JSON"), pack(b'{"result": 5}')],
    ids=["bytes", "text", "shape"],
)
def test_damage_is_told_of_by_its_number(reader, engine, detail):
    (row,) = reader.rollouts(Place(run="a"), limit=1)
    message = f"rollout {row['seq']} of the ledger cannot be read"
    damage(engine, prompts.c.sources, b"no zlib")
    with pytest.raises(LedgerError, match=message):
        reader.rollout(row["seq"])
    damage(engine, prompts.c.sources, pack(b"{}"))
    damage(engine, rollouts.c.detail, detail)
    for read in (reader.rollout, lambda number: list(reader.whole([number]))):
        with pytest.raises(LedgerError, match=message):
            read(row["seq"])
    with pytest.raises(LedgerError, match=message):
        reader.samples([row])


def test_a_read_ends_when_its_time_is_over(tmp_path):
    view = LedgerReader(open_engine(f"sqlite:///{tmp_path / 'ledger.db'}"))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    interrupted = pytest.raises(LedgerError, match="interrupted")
    with interrupted, view.within(0.2), view._connect() as connection:
        connection.execute(text(endless))
    assert view.runs() == []
