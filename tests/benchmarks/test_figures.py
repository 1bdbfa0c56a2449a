"""The benchmark's own arithmetic, and the JSON that is kept from run to run."""

import io
import itertools
import json
import sys
from functools import partial

import pytest
from rich.console import Console

import hostile
import keeping
import latency
import million
import overhead
import reading
from citemark_service.ledger.database import open_engine
from citemark_service.ledger.reading import LedgerReader, Place
from citemark_service.score.rollout import rollout_hash
from keeping import Keeping
from processes import NotStarted, running_service, scripted_judge
from prompts import Message, Request, measure
from reading import Reading
from report import KEYS, Line, record, table
from rounds import NotScored, Round, batch_round
from run import run_parts
from soak import Sample, Soak
from workload import training_step

KEPT = Keeping(
    off=tuple(Round(256, wall_s, 0.256, []) for wall_s in (2.0, 4.0, 1.0)),
    on=tuple(Round(256, wall_s, 0.512, []) for wall_s in (2.2, 4.0, 1.02)),
    file_bytes=5000.0,
)


def fail():
    yield Line("before", 1.0, key="rss_mb")
    raise NotScored("3 of 8 rollouts failed")


def show(parts):
    out = io.StringIO()
    console = Console(width=120, file=out)
    rows = run_parts(parts, console)
    console.print(table(rows))
    return rows, out.getvalue().splitlines()


def test_the_harm_of_a_body_is_waits_and_memory():
    small, large = (
        list(hostile.lines(hostile.Attack("blanks", "/v1/score", partial(bytes, n))))
        for n in (10, 2_000_000)
    )
    assert [line.name.strip() for line in large] == [
        "blanks: probe, ms",
        "another's rollout, ms",
        "memory over bytes sent",
    ]
    assert [line.name for line in small] == [line.name for line in large[:2]]
    assert "422" in large[0].note


def test_a_part_that_fails_is_marked_and_loses_nothing():
    parts = [
        ("one", lambda: iter([Line("first", 1.5, 1.0)])),
        ("two", fail),
        ("three", lambda: iter([Line("last", 0.9, 0.8, at_least=True)])),
    ]
    rows, shown = show(parts)
    marks = {line.split()[0]: line for line in shown if not line.endswith("…")}
    assert "NO" in marks["first"]
    assert "1.00" in marks["before"]
    assert "FAILED" in marks["two"]
    assert "NotScored: 3 of 8 rollouts failed" in marks["two"]
    assert "yes" in marks["last"]
    numbers = json.loads(json.dumps(record(rows), allow_nan=False))
    assert tuple(numbers) == KEYS
    assert {key: value for key, value in numbers.items() if value is not None} == {"rss_mb": 1.0}


def test_an_interrupt_prints_what_there_is():
    def stop():
        raise KeyboardInterrupt

    _, shown = show([("one", lambda: iter([Line("first", 1.5)])), ("two", stop), ("three", fail)])
    assert any(line.startswith("first") for line in shown)
    assert any("interrupted" in line for line in shown)
    assert not any(line.startswith("three") for line in shown)


SOAK = Soak(1.0, (Sample(256, 100.0), Sample(512, 120.0), Sample(768, 121.0)))


def test_a_cost_is_of_rounds_that_stood_side_by_side_and_growth_is_from_the_middle_on():
    assert KEPT.wall_ratio == pytest.approx(1.02)
    assert KEPT.wall_ratio == Reading(KEPT.off, KEPT.on, pages=9).wall_ratio
    assert (KEPT.least_ratio, KEPT.cpu_ms) == (pytest.approx(1.02), pytest.approx(1.0))
    assert SOAK.growth_mb == 1.0


def test_slots_are_idle_until_their_first_call_and_between_two():
    sent = Round(2, 1.0, 0.1, [], sent_at=100.0)
    pace = latency.Pace(sent, calls=(100.1,) * 64 + (100.5,), call_s=0.2)
    assert pace.first_call_ms == pytest.approx(100.0)
    assert pace.ratio == pytest.approx(64 / (65 * 0.2))
    assert pace.idle == pytest.approx(1 - 0.2 / 0.5)


def test_a_step_is_sent_in_every_way_beside_the_floor(tmp_path):
    step = training_step(prompts=2, samples=1, snippet_characters=200)
    rows = list(
        overhead.lines("apart", step, itertools.count(1), ratio=4.0, folder=tmp_path, repetitions=1)
    )
    numbers = {row.key: row.value for row in rows if row.key}
    assert numbers.keys() == {key for key in KEYS if key.startswith("apart_")}
    assert numbers["apart_floor_ms"] > 0
    assert numbers["apart_calls"] == 2.0
    batches, singles = latency.measure(
        step, itertools.count(9), folder=tmp_path, repetitions=1, call_s=0.05
    )
    for pace in (*batches, *singles):
        assert len(pace.calls) == 4
        assert pace.first_call_ms > 0


def test_what_a_group_shares_ends_where_its_samples_part():
    requests = [
        Request([Message("system", "Grade."), Message("user", f"<question-{nonce}>\nWhy?{answer}")])
        for nonce, answer in (("a1", "one"), ("a1", "other"), ("b2", "two"))
    ]
    shared = len(requests[0].text) - len("ne")
    sent = measure(requests, rollouts=3)
    assert sent.characters == sum(len(each.text) for each in requests)
    assert sent.common == 2 * shared + len(requests[2].text)
    assert sent.reusable == shared + len("Grade.\n<question-")


def test_a_step_goes_through_the_real_service_and_is_not_judged_twice():
    step = training_step(prompts=1, samples=2, snippet_characters=200)
    with scripted_judge() as judge, running_service(judge, evidence_quotes=True) as service:
        first, again = (batch_round(service, step.batch(1)) for _ in range(2))
        fresh = batch_round(service, step.batch(2))
    assert [each.judge("calls") for each in (first, again, fresh)] == [4, 0, 4]
    assert 0 < first.cpu_s < 60
    assert all(item["evidence_found"] for item in first.results[0]["rubrics"])


def test_a_service_that_does_not_start_says_why():
    with (
        pytest.raises(NotStarted, match="NO_SUCH_SETTING is not a setting"),
        running_service("http://127.0.0.1:9/v1", no_such_setting=1),
    ):
        sys.exit("it started")


def test_a_ledger_is_measured_beside_the_same_service_without_one(tmp_path):
    step = training_step(prompts=2, samples=2, snippet_characters=200)
    path = tmp_path / "ledger.db"
    kept = keeping.measure(step, itertools.count(1), repetitions=2, ledger=path, call_s=0.0)
    assert len(kept.off) == len(kept.on) == 2
    reader = LedgerReader(open_engine(f"sqlite:///{path}"))
    assert len(reader.numbers(Place())) == 4 * len(step.rollouts)
    reader.close()


def test_a_filled_ledger_is_one_that_the_service_could_have_written_and_reads(tmp_path):
    path = tmp_path / "ledger.db"
    million.filled(path, size=2048)
    reader = LedgerReader(open_engine(f"sqlite:///{path}"))
    runs, numbers = reader.runs(), reader.numbers(Place())
    assert sum(run["rollouts"] for run in runs) == len(numbers) == 2048
    assert {run["run"] for run in runs} == set(million.RUNS)
    for kept in reader.whole(numbers[::100]):
        assert kept.result.id == kept.rollout.id
        assert kept.result.rollout_hash == rollout_hash(kept.rollout)
    reader.close()
    step = training_step(prompts=2, samples=2, snippet_characters=200)
    read = reading.measure(step, itertools.count(1), repetitions=2, ledger=path, call_s=0.0)
    assert len(read.alone) == len(read.beside) == 2
    assert read.pages >= 2
