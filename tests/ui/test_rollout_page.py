"""A rollout's pages: every criterion and every term whole, its judge's words; and the paste box."""

import asyncio
import json

import pytest

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Loss, Rollout, Term
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics
from citemark_service.web.ui.pages import rollout_page
from citemark_service.web.ui.templates import Templates
from support.ledger_service import Document, kept_service, page, score
from support.scripted_judge import MODEL, Status, always
from support.step_rollouts import by_content
from support.step_rollouts import rollout as step_rollout

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
LANGUAGE = {
    "judge": "vllm",
    "judge_model": MODEL,
    "judge_attempts": 1,
    "evidence_quotes": False,
    "nonce_secret": "one for sending and for showing",
}


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
    same = [{"title": "Depth", "description": f"<b>Part {part}</b>\u202e"} for part in (1, 2)]
    with kept_service(tmp_path) as client:
        score(client, [rollout(LONG, "It is short."), rollout(*same)], run="a", step=1)
        shown, parts = (page(client, f"rollout?n={number}") for number in (1, 2))
    texts = whole(shown)
    (cut,) = [title for title in texts if title.endswith("…")]
    assert texts[cut] == LONG
    assert "2: " in texts["Citation Discipline"]
    assert "It is short." not in texts  # its title says it all
    assert "another version" not in shown.text
    depths = [each.text for each in parts.classed("criterion") if "Depth" in each.text]
    assert depths == ["Depth<b>Part 1</b><U+202E>", "Depth<b>Part 2</b><U+202E>"]


def test_a_set_that_changed_since_is_not_shown_as_the_one_that_judged(tmp_path):
    file, pin = tmp_path / "house.toml", {"rubrics_dir": tmp_path, "static_rubrics": "house"}
    file.write_text(SET.format("How long it was."))
    with kept_service(tmp_path, **pin) as client:
        score(client, [rollout(LONG)], run="a", step=1)
        assert "How long it was." in whole(page(client, "rollout?n=1"))["Brevity"]
    file.write_text(SET.format("How long it is now."))
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


async def test_prompts_are_worded_again_as_they_were_sent_and_replies_kept(tmp_path, start_judge):
    judge = await start_judge(by_content())
    with kept_service(tmp_path, judge_url=judge.url, **LANGUAGE) as client:
        for step in (1, 2):
            await asyncio.to_thread(score, client, [step_rollout(1, 1)], run="a", step=step)
        seen = await asyncio.to_thread(page, client, "judge?n=1")
        again = await asyncio.to_thread(page, client, "judge?n=2")
    shown = [each.text for each in seen.classed("text")]
    sent = [request["messages"][-1]["content"] for request in judge.requests]
    assert len(sent) == 2
    for prompt in sent:
        assert any(prompt.strip() in each for each in shown)
    told = [each.text for each in seen.all("summary")]
    assert sorted(told[:2]) == ["On citations", "On criteria"]
    assert all(isinstance(json.loads(reply), dict) for reply in shown[:2])
    assert "every verdict was known" in again.text


async def test_a_failed_judge_is_said_and_listed(tmp_path, start_judge):
    judge = await start_judge(always(Status(500)))
    with kept_service(tmp_path, judge_url=judge.url, **LANGUAGE) as client:
        await asyncio.to_thread(score, client, [step_rollout(1, 1)], run="a", step=1)
        listed = await asyncio.to_thread(page, client, "run?run=a&show=failed")
        seen = await asyncio.to_thread(page, client, "rollout?n=1")
    assert "failed: judge server error" in listed.text
    assert "rollout?n=1" in listed.links
    reason = seen.classed("reason")[0].text
    assert reason.startswith("No reward: the judge failed (judge_server_error")
    assert "mask this sample" in reason
    assert seen.classed("figure")[0].text == "–"


def test_a_judge_without_words_says_so(pages):
    assert "asks nothing in words" in page(pages, "judge?n=1").text


def paste(client, rollout, status=200, **headers):
    text = rollout if isinstance(rollout, str) else json.dumps(rollout)
    response = client.post("/ui/score", data={"rollout": text}, headers=headers)
    assert response.status_code == status
    return Document(response.text)


def test_the_example_in_the_box_can_be_scored_as_it_is(pages):
    box = page(pages, "score")
    (area,), (form,) = box.all("textarea"), box.all("form")
    assert (form.attributes["method"], form.attributes["action"]) == ("post", "score")
    assert paste(pages, area.text).classed("reason")[0].text.startswith("Got ")


def test_what_is_pasted_gets_the_services_reward_and_is_kept(tmp_path, examples):
    with kept_service(tmp_path) as client:
        reward = client.post("/v1/score", json=examples[2]).json()["reward"]
        seen = paste(client, {**examples[2], "run": "pasted", "step": 4})
        assert seen.classed("figure")[0].text == f"{reward:.3f}"
        assert "pasted" in page(client, "").text
        assert "step 4" in page(client, "run?run=pasted").text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ('{"question": "q"}', "response"),
        ('{"question": "q", "response": "r", "tool_output": "", "positive_rubrics": [3]}', "[0]"),
    ],
)
def test_what_is_wrong_is_said_above_the_text(pages, text, told):
    seen = paste(pages, text, 422)
    assert told.lower() in seen.classed("warn")[0].text.lower()
    assert seen.all("textarea")[0].text.strip() == text


def test_a_rollout_over_the_limit_and_a_form_of_many_fields_are_refused(tmp_path, pages):
    with kept_service(tmp_path, max_rollout_bytes=2_000) as client:
        paste(client, "x" * 3_000, 413)
        paste(client, "x" * 30_000, 413)
    form = {f"a{number}": "1" for number in range(5_000)}
    assert pages.post("/ui/score", data=form).status_code == 422


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (403, {"Sec-Fetch-Site": "same-site"}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "http://127.0.0.1:1"}),
        (200, {"Sec-Fetch-Site": "same-origin"}),
        (200, {"Origin": "{here}"}),
        (200, {"Origin": "null"}),
    ],
)
def test_only_this_site_can_send_the_form(pages, examples, status, headers):
    here = str(pages.base_url).rstrip("/")
    given = {name: value.format(here=here) for name, value in headers.items()}
    seen = paste(pages, examples[0], status, **given)
    assert ("another site sent this" in seen.text) is (status == 403)


def test_a_page_shows_numbered_claims_where_they_stand_and_what_was_not_read(tmp_path):
    told = {
        **rollout("It is short."),
        "tool_output": '[{"url": "https://a.example", "text": "It is written every 5 s."}]',
        "response": "<answer>## When\n\nIt is written every 5 s [1]. <cite id=9>x</cite></answer>",
    }
    with kept_service(tmp_path) as client:
        score(client, [told], run="a", step=1)
        shown = page(client, "rollout?n=1")
    (claim,) = shown.classed("claim")[-1:]
    assert "It is written every 5 s [1]." in claim.text
    (warn,) = shown.classed("warn")
    assert "read as citations: numbered [1]; not read: 1 <cite id=…>" in warn.text
