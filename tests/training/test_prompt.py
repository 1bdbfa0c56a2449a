"""The refiner's prompt."""

from pathlib import Path

import pytest

from citemark_grpo.training.errors import RowsUnusable
from citemark_grpo.training.prompt import RefinerPrompt

PARTS = {"question": "Why {{ salt }}?", "tool_output": "<snippet id=a>{% x %} &amp;</snippet>"}


def test_the_prompt_shows_everything_raw_and_asks_for_the_format() -> None:
    (message,) = RefinerPrompt.load().render(**PARTS, reasoning="Look at <b>.")
    assert message["role"] == "user"
    for part in (*PARTS.values(), "Look at <b>.", "<answer>", "<snippet id=ID1,ID2>"):
        assert part in message["content"]


def test_without_reasoning_nothing_is_said_of_it() -> None:
    prompt = RefinerPrompt.load()
    assert "Reasoning" not in prompt.render(**PARTS)[0]["content"]
    assert "Reasoning" in prompt.render(**PARTS, reasoning="x")[0]["content"]


def test_a_template_of_ones_own_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "short.j2"
    path.write_text("{{ question }} | {{ tool_output }} | {{ reasoning }}\n")
    prompt = RefinerPrompt.load(str(path))
    (message,) = prompt.render(question="q", tool_output="t", reasoning="r")
    assert message["content"] == "q | t | r"
    assert prompt.version != RefinerPrompt.load().version


@pytest.mark.parametrize("text", ["{{ question", "{% for %}", "{{ documents }}"])
def test_a_template_that_cannot_be_rendered_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.j2"
    path.write_text(text)
    with pytest.raises(RowsUnusable, match="template"):
        RefinerPrompt.load(str(path)).render(**PARTS)


def test_a_template_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsUnusable, match="cannot be read"):
        RefinerPrompt.load(str(tmp_path / "none.j2"))
