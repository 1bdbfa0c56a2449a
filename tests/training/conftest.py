"""Rows to train on, plans, and a policy so small that a step takes a second."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from citemark_grpo.training.plan import Plan, plan_run
from support.tiny_policy import make_policy

Planned = Callable[..., Plan]
"""`planned(beta=0.1)`: the plan of a run with that flag, and small rows."""


def raw_row(number: int = 0, **more: Any) -> dict[str, Any]:
    """One row in the shape of the published data set."""
    return {
        "id": f"tide-{number}",
        "question": f"How high is the spring tide at quay {number}?",
        "reasoning": "The harbour's tables should say.",
        "tool_output": f"<snippet id=T{number}>Quay {number}: spring tide 4.{number} m.</snippet>",
        "positive_rubrics": json.dumps([{"description": "Names the height."}]),
        **more,
    }


@pytest.fixture(scope="session", autouse=True)
def without_vllm() -> Iterator[None]:
    """TRL asks whether vLLM can be found; the folder tests/vllm, which is on the path, cannot pass.

    None is how Python itself marks a module that must not be found.
    """
    modules = cast(dict[str, Any], sys.modules)
    kept = modules.get("vllm")
    modules["vllm"] = None
    yield
    del modules["vllm"]
    if kept is not None:
        modules["vllm"] = kept


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """Eight rows as JSON lines."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(raw_row(number)) + "\n" for number in range(8)))
    return path


@pytest.fixture
def planned(rows_file: Path, tmp_path: Path) -> Planned:
    """Plans whose required flags are set."""

    def build(**given: Any) -> Plan:
        required = {"model_name_or_path": "policy", "dataset": str(rows_file)}
        return plan_run({**required, "output_dir": str(tmp_path / "run"), **given})

    return build


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained policy in a folder; needs transformers."""
    folder = tmp_path_factory.mktemp("policy")
    make_policy(folder)
    return folder
