"""A rollout's page shows every criterion whole, and every term of the reward."""

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Loss, Rollout, Term
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.ui.pages import rollout_page
from citemark_service.web.ui.templates import Templates
from support.ledger_service import Document, kept_service, page, score

LONG = "The answer says that the offset was written every five seconds, so that up to 5 s repeat."
SET = """name = "house"
description = "Of this house."
[[criteria]]
title = "Brevity"
polarity = "positive"
looks_at = "{}"
zero = "Long."
zero_example = "Much."
one = "Middling."
one_example = "Some."
two = "Short."
two_example = "Few."
"""


def rollout(*rubrics):
    return {
        "id": "r1",
        "question": "How often?",
        "response": "<answer>It was written every five seconds.</answer>",
        "tool_output": "<snippet id=s1>It is written every five seconds.</snippet>",
        "rubrics": list(rubrics),
    }


def whole(document):
    """The texts of the criteria that can be opened, by title."""
    titles = [each.text for each in document.all("summary")]
    opened = [(title, each.text) for each in document.classed("criterion") for title in titles]
    return {title: text.removeprefix(title) for title, text in opened if text.startswith(title)}


def test_a_criterion_stands_in_full_behind_its_title(tmp_path):
    same = [{"title": "Depth", "description": f"<b>Part {part}</b>\u202e"} for part in (1, 2, 1)]
    with kept_service(tmp_path) as client:
        score(client, [rollout(LONG, "It is short.")], run="a", step=1)
        shown = page(client, "rollout?n=1")
        score(client, [rollout(*same)], run="a", step=1)
        parts = [each.text for each in page(client, "rollout?n=2").classed("criterion")]
    texts = whole(shown)
    (cut,) = [title for title in texts if title.endswith("…")]
    assert texts[cut] == LONG
    assert "2: " in texts["Citation Discipline"]
    assert "It is short." not in texts  # its title says it all
    assert "another version" not in shown.text
    parts = [text for text in parts if "Depth" in text]
    assert parts == ["Depth<b>Part 1</b><U+202E>", "Depth<b>Part 2</b><U+202E>"]


def test_a_set_that_changed_since_is_not_shown_as_the_one_that_judged(tmp_path):
    folder, pin = tmp_path / "sets", {"rubrics_dir": tmp_path / "sets", "static_rubrics": "house"}
    folder.mkdir()
    (folder / "house.toml").write_text(SET.format("How long it was."))
    with kept_service(tmp_path, **pin) as client:
        score(client, [rollout(LONG)], run="a", step=1)
        assert "How long it was." in whole(page(client, "rollout?n=1"))["Brevity"]
    (folder / "house.toml").write_text(SET.format("How long it is now."))
    with kept_service(tmp_path, **pin) as client:
        shown = page(client, "rollout?n=1")
    assert "Brevity" in shown.text
    assert "Brevity" not in whole(shown)
    assert LONG in whole(shown).values()
    assert "the static set house@" in shown.text
    assert "this service has another version of it, or none" in shown.text


async def test_a_term_that_the_page_has_never_heard_of_is_in_the_sum_and_the_losses(examples):
    pipeline = Pipeline(
        judge=EmbeddedJudge(), library=load_library(), settings=Settings(), metrics=Metrics()
    )
    judged = Rollout.model_validate(examples[0])
    result = await pipeline.score(judged, request=Knobs(), position=0, deadline=None)
    lost = (Loss(amount=0.3, cause="<b>too long</b>"),)
    term = Term(label="length", value=0.6, weight=-0.5, lost=lost)
    longer = result.model_copy(update={"terms": (*result.terms, term)})
    seen = Document(rollout_page(Templates(), pipeline, judged, longer))
    assert seen.classed("formula")[0].text.endswith(" − 0.5 × 0.600 (length)")
    assert "−0.300<b>too long</b>" in seen.classed("losses")[0].text.replace("\n", "")
