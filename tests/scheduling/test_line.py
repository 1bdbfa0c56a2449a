"""Whose turn it is: priorities, fair shares, groups that stay together."""

from collections import Counter, defaultdict
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citemark_service.judges.chat import ChatRequest
from citemark_service.judges.server.queue import RUN, WaitingLine


class Call(NamedTuple):
    """What waits, with what its place depends on."""

    priority: int
    caller: str
    affinity: str
    number: int

    @property
    def request(self) -> ChatRequest:
        return ChatRequest(
            (), None, 1, priority=self.priority, caller=self.caller, affinity=self.affinity
        )


def lined_up(*calls: Call) -> WaitingLine[Call]:
    line: WaitingLine[Call] = WaitingLine()
    for call in calls:
        line.push(call.request, call)
    return line


def drained(line: WaitingLine[Call]) -> list[Call]:
    return [line.pop() for _ in range(line.size)]


CALLS = st.builds(
    Call,
    st.sampled_from([0, 10]),
    st.sampled_from("ab"),
    st.sampled_from("xyz"),
    st.integers(0, 10**9),
)


def test_lower_numbers_go_first_whoever_came_first():
    audit, training = Call(10, "a", "x", 1), Call(0, "b", "y", 2)
    assert drained(lined_up(audit, training)) == [training, audit]


def test_ten_thousand_calls_of_one_do_not_keep_out_eight_of_another():
    many = [Call(0, "many", f"g{n // 16}", n) for n in range(10_000)]
    few = [Call(0, "few", "h", n) for n in range(8)]
    order = drained(lined_up(*many, *few))
    assert [call for call in order[:16] if call.caller == "few"] == few


def test_a_group_travels_together_in_order_of_arrival():
    calls = [Call(0, "a", f"g{n % 4}", n) for n in range(32)]
    order = drained(lined_up(*calls))
    assert [key for key, _ in groupby(order, lambda c: c.affinity)] == ["g0", "g1", "g2", "g3"]
    assert order == sorted(calls, key=lambda c: (c.number % 4, c.number))


def test_a_group_travels_together_between_two_callers():
    calls = [Call(0, caller, f"g{n // 3}", n) for n in range(9) for caller in "ab"]
    order = drained(lined_up(*calls))
    assert [call.caller for call in order] == ["a", "b"] * 9
    for caller in "ab":
        assert [call.number for call in order if call.caller == caller] == list(range(9))


def test_a_group_that_never_ends_does_not_keep_out_the_next():
    line = lined_up(Call(0, "a", "endless", 0), Call(0, "a", "next", 1))
    served = []
    for number in range(2, RUN + 2):
        call = Call(0, "a", "endless", number)
        line.push(call.request, call)
        served.append(line.pop())
    assert line.pop().affinity == "next"
    assert {call.affinity for call in served} == {"endless"}


def test_nothing_waits_in_an_empty_line():
    with pytest.raises(IndexError):
        lined_up().pop()


@settings(deadline=None)
@given(st.lists(CALLS, unique=True), st.data())
def test_each_comes_out_once_unless_it_was_taken_out(calls, data):
    line = lined_up(*calls)
    gone = data.draw(st.lists(st.sampled_from(calls)) if calls else st.just([]))
    for call in gone:
        line.discard(call.request, call)  # a second time too, which does nothing
    assert Counter(drained(line)) == Counter(set(calls) - set(gone))
    assert vars(line) == vars(WaitingLine())


@settings(deadline=None)
@given(st.lists(CALLS, unique=True))
def test_no_call_is_overtaken_within_its_group_and_priorities_are_strict(calls):
    order = drained(lined_up(*calls))
    assert [c.priority for c in order] == sorted(c.priority for c in calls)
    expected, got = defaultdict(list), defaultdict(list)
    for call in calls:
        expected[call[:3]].append(call)
    for call in order:
        got[call[:3]].append(call)
    assert expected == got


@settings(deadline=None)
@given(st.lists(CALLS, unique=True, min_size=1))
def test_callers_of_one_priority_are_never_more_than_one_call_apart(calls):
    line = lined_up(*calls)
    left, served = Counter(c[:2] for c in calls), Counter[tuple[int, str]]()
    for call in drained(line):
        served[call[:2]] += 1
        left[call[:2]] -= 1
        others = [who for who, count in left.items() if count and who[0] == call.priority]
        assert all(served[call[:2]] - served[who] <= 1 for who in others)
