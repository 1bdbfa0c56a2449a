"""What the judge was asked and what it said, where it has words."""

import asyncio
import json

from support.ledger_service import kept_service, page, score
from support.scripted_judge import MODEL, Status, always
from support.step_rollouts import by_content, rollout

SETTINGS = {
    "judge": "vllm",
    "judge_model": MODEL,
    "judge_attempts": 1,
    "evidence_quotes": False,
    "nonce_secret": "one for sending and for showing",
}


async def test_prompts_are_worded_again_as_they_were_sent_and_replies_kept(tmp_path, start_judge):
    judge = await start_judge(by_content())
    with kept_service(tmp_path, judge_url=judge.url, **SETTINGS) as client:
        for step in (1, 2):
            await asyncio.to_thread(score, client, [rollout(1, 1)], run="a", step=step)
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
    with kept_service(tmp_path, judge_url=judge.url, **SETTINGS) as client:
        await asyncio.to_thread(score, client, [rollout(1, 1)], run="a", step=1)
        listed = await asyncio.to_thread(page, client, "run?run=a&show=failed")
        assert "failed: judge server error" in listed.text
        assert "rollout?n=1" in listed.links
        seen = await asyncio.to_thread(page, client, "rollout?n=1")
        reason = seen.classed("reason")[0].text
        assert reason.startswith("No reward: the judge failed (judge_server_error")
        assert "mask this sample" in reason
        assert seen.classed("figure")[0].text == "–"


def test_a_judge_without_words_says_so(pages):
    assert "asks nothing in words" in page(pages, "judge?n=1").text
