"""What the pages read: bounded, on time, and the same sums as the steps'."""

import asyncio
import threading
from contextlib import closing
from queue import SimpleQueue

import pytest
from sqlalchemy import text

from citemark_service.errors import LedgerError, Overloaded
from citemark_service.ledger.ledger import ledger_view
from citemark_service.ledger.reading import LedgerReader
from citemark_service.settings import Settings
from citemark_service.web.admission import Reads
from support.ledger_service import kept_service, score


@pytest.fixture(scope="module")
def view(tmp_path_factory, examples):
    folder = tmp_path_factory.mktemp("viewed")
    with kept_service(folder) as client:
        for step in (0, 1, 2, 3, 10):
            score(client, examples, run="a", step=step)
        score(client, examples[:3])
    view = ledger_view(Settings(ledger=f"sqlite:///{folder / 'ledger.db'}"))
    assert view is not None
    yield view
    view.close()


@pytest.mark.parametrize("points", [1, 2, 3, 5, 11, 100])
def test_a_curve_has_few_points_that_hold_every_rollout(view: LedgerReader, points):
    curve = view.curve("a", points=points)
    assert 1 <= len(curve) <= points
    assert sum(each["rollouts"] for each in curve) == 80
    assert (curve[0]["step"], curve[-1]["last"]) == (0, 10)
    reward = sum(step["reward_sum"] for step in view.latest_steps("a", limit=100))
    assert sum(each["reward_sum"] for each in curve) == pytest.approx(reward)


def test_steps_come_from_the_last_to_the_first_piece_by_piece(view: LedgerReader):
    assert [row["step"] for row in view.latest_steps("a", limit=2)] == [10, 3]
    assert [row["step"] for row in view.latest_steps("a", before=3, limit=9)] == [2, 1, 0]
    assert view.neighbours("a", 3) == (2, 10)
    assert view.neighbours("a", 10) == (3, None)
    assert view.curve("b", points=10) == []


def test_a_window_holds_the_latest(view: LedgerReader):
    numbers = [row["seq"] for row in view.window("a", 10, limit=5)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5
    assert len(view.window("", -1)) == 3


def test_verdicts_and_questions_are_read_as_far_as_there_is_room(view: LedgerReader):
    rows = view.window("a", 1)
    assert len(view.samples(rows)) == 16
    long = [{**rows[0], "chars": 23_999_990}, *rows[1:]]
    assert [sample.row["seq"] for sample in view.samples(long)] == [rows[0]["seq"]]
    questions = view.questions(rows)
    assert len(questions) == 4
    assert all(question.endswith("?") or len(question) == 100 for question in questions.values())
    assert view.questions([{"group_key": "named"}]) == {}


def test_a_read_ends_when_its_time_is_over(view: LedgerReader):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    interrupted = pytest.raises(LedgerError, match="interrupted")
    with interrupted, view.within(0.2), view._connect() as connection:
        connection.execute(text(endless))
    assert len(view.runs()) == 2


async def test_pages_beyond_the_bound_are_refused_and_rewards_never_wait_for_them():
    free, begun = threading.Event(), SimpleQueue[int]()

    def slow() -> int:
        begun.put(1)
        free.wait(60)
        return 1

    with closing(Reads()) as reads:
        waiting = [asyncio.create_task(reads.run(slow)) for _ in range(18)]
        for _ in range(2):
            await asyncio.to_thread(begun.get, timeout=60)  # the loop is free meanwhile
        with pytest.raises(Overloaded):
            await reads.run(slow)
        assert begun.empty()
        free.set()
        assert sum(await asyncio.gather(*waiting)) == 18
        assert await reads.run(lambda: 7) == 7
