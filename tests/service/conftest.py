"""Fixtures of the service's tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.running_service import Build, Running, begin, until


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with begin() as running:
        yield running


@pytest.fixture
def service(shared: Running) -> Iterator[Running]:
    """A service with the default settings, in which a test leaves nothing behind."""
    shared.judge.forget()
    yield shared
    shared.judge.gate.set()
    until(lambda: shared.admission.rollouts.held == shared.admission.buffered.held == 0)


@pytest.fixture
def rollout() -> Build:
    def build(question: str = "How long is the Orm viaduct?", **fields: Any) -> dict[str, Any]:
        return {
            "question": question,
            "tool_output": "<snippet id=s1>The Orm viaduct is 312 metres long.</snippet>",
            "response": "<answer><snippet id=s1>It is 312 metres long.</snippet></answer>",
            "positive_rubrics": ["States the length."],
            **fields,
        }

    return build
