"""A step of a training run, what `/v1/score` says of it, and the trainers to send it with."""

from collections.abc import Callable
from typing import Any

import pytest

from support.driving import PYTHON, drive
from support.judged_service import judged_service
from support.step_checks import SAMPLES
from support.step_rollouts import by_content, step

GROUPS = 32
Drive = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trainers take their time to be imported."""
    for item in items:
        if item.get_closest_marker("trainers") is not None:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def rollouts() -> list[dict[str, Any]]:
    """32 prompts with 8 samples each, prompt by prompt."""
    return step(GROUPS, SAMPLES)


@pytest.fixture(scope="session")
def scored(rollouts: list[dict[str, Any]]) -> tuple[list[float], int]:
    """What `/v1/score` gives them, and how often it asked the judge for that."""
    with judged_service(by_content()) as judged:
        rewards = judged.rewards(rollouts)
        assert judged.judge.calls >= len(rollouts)
        assert len(set(rewards)) > 20
        return rewards, judged.judge.calls


@pytest.fixture(scope="session")
def expected(scored: tuple[list[float], int]) -> list[float]:
    """Their rewards."""
    return scored[0]


@pytest.fixture(scope="session")
def calls(scored: tuple[list[float], int]) -> int:
    """What one judgement of each of them costs in calls of the judge."""
    return scored[1]


@pytest.fixture(scope="session")
def trainer() -> Drive:
    """`trainer("trl", rollouts, …)`: what that trainer's driver made of the job."""
    if not PYTHON.is_file():
        pytest.skip("needs an environment with the trainers: make test-trainers")

    def run(driver: str, rollouts: Any, *, citemark_url: str = "", **job: Any) -> Any:
        whole = {"rollouts": rollouts, "samples": SAMPLES, **job}
        return drive(driver, whole, **({"CITEMARK_URL": citemark_url} if citemark_url else {}))

    return run
