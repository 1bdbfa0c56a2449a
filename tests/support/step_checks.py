"""What must hold of a step's rewards as a trainer has them, whichever trainer it is."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from support.cutting_proxy import cutting_proxy
from support.judged_service import judged_service
from support.step_rollouts import CALLS, by_content

SAMPLES = 8


def judged_or_flagged(
    rewards: Sequence[float], failed: Sequence[bool], expected: Sequence[float]
) -> None:
    """Every reward is the judge's own, or flagged, and then its prompt's mean, or 0.

    The judge must have died in the middle: with some samples judged, some not, and some prompt
    with samples of both kinds. Rewards may have gone through single precision.
    """
    assert len(rewards) == len(failed) == len(expected)
    assert any(failed)
    assert not all(failed)
    mixed = 0
    for start in range(0, len(rewards), SAMPLES):
        group = range(start, start + SAMPLES)
        judged = [expected[at] for at in group if not failed[at]]
        mixed += 0 < len(judged) < SAMPLES
        stand_in = sum(judged) / len(judged) if judged else 0.0
        for at in group:
            wanted = stand_in if failed[at] else expected[at]
            assert rewards[at] == pytest.approx(wanted, abs=1e-6), f"rollout {at}"
    assert mixed


def judged_or_absent(rewards: Sequence[float | None], expected: Sequence[float]) -> None:
    """Every reward is the judge's own, or there is none; the judge died in the middle, as above."""
    mixed = 0
    for start in range(0, len(rewards), SAMPLES):
        absent = [reward is None for reward in rewards[start : start + SAMPLES]]
        mixed += any(absent) and not all(absent)
    assert mixed
    for reward, wanted in zip(rewards, expected, strict=True):
        assert reward is None or reward == wanted


@contextmanager
def cut_service(
    cuts: int, rollouts: int, *, delay_s: float = 0.6, after_s: float = 0.3, **settings: Any
) -> Iterator[str]:
    """The URL of a service whose first `cuts` connections break, so that clients post again.

    In the end the judge must have been asked for each of the `rollouts` once.
    """
    # A busy machine may take longer than the default to post again.
    patient = {"judge_linger_s": 300.0, **settings}
    with (
        judged_service(by_content(delay_s=delay_s), **patient) as judged,
        cutting_proxy(judged.url, cuts=cuts, after_s=after_s) as proxy,
    ):
        yield proxy.url
        assert proxy.cut == cuts
        assert judged.judge.calls == CALLS * rollouts
