"""Each notation of citations through the running service, with F1 by hand."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from citemark_schemas import ClaimVerdict, ScoreResult, SentenceVerdict
from citemark_service.app import create_app
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.judges.tasks import CitationVerdicts
from citemark_service.settings import Settings
from support.scripted_service import listening

FACTS = {"1": "opened in 1963", "2": "is 312 m long", "3": "is red"}
LIST = json.dumps([{"url": f"https://orm.example/{n}", "text": t} for n, t in FACTS.items()])
TAGS = "".join(f"<snippet id=S{n}>{text}</snippet>" for n, text in FACTS.items())
BLOCKS = "\n\n".join(
    f"[{n}] Title: Orm {n}\n[{n}] URL Source: https://orm.example/{n}\n[{n}] Description: {text}"
    for n, text in zip(range(3), FACTS.values(), strict=True)
)
DOCUMENTS = "".join(f"<document id={n}>{text}</document>" for n, text in FACTS.items())
# Three true claims, one claim with a source that does not state it, one uncited fact:
# R = 3 / (4 + 1), P = 3 / (4 + 1), F1 = .6.
FORMS = {
    "snippet": (
        TAGS,
        "<snippet id=S1>It opened in 1963</snippet>. <snippet id=S2>It is 312 m long</snippet>. "
        "<snippet id=S3>It is red</snippet>. <snippet id=S1>It is blue</snippet>. It is old.",
    ),
    "cite": (
        TAGS,
        '<cite id="S1">It opened in 1963</cite>. <cite ids=S2>It is 312 m long</cite>. '
        '<cite id="S3">It is red</cite>. <cite id="S1">It is blue</cite>. It is old.',
    ),
    "numbered": (
        LIST,
        "It opened in 1963 [1]. It is 312 m long.[2] It is red. [3] It is blue [1]. It is old.",
    ),
    "dagger": (
        DOCUMENTS,
        "It opened in 1963【1†L1-L2】. It is 312 m long【2†】. It is red【3】. "
        "It is blue【1†】. It is old.",
    ),
    "links": (
        BLOCKS,
        "It opened in 1963 [[0](https://orm.example/0)]. It is 312 m long "
        "[1](https://orm.example/1). It [is red](https://orm.example/2). It is blue [0]. "
        "It is old.",
    ),
    "table": (
        LIST,
        "## The bridge\n\n| What | Value |\n|---|---|\n| It | opened in 1963 [1] |\n"
        "| It | is 312 m long [2] |\n| It | is red [3] |\n\n- It is blue [1]\n- It is old",
    ),
}


class LookupJudge(EmbeddedJudge):
    """A claim is supported where its last words are a cited source's; each sentence is a fact."""

    async def judge_citations(self, task, *, meter, deadline) -> CitationVerdicts:
        def supports(text: str, name: str) -> float:
            stated = next(fact for fact in FACTS.values() if fact in task.sources.by_id[name].text)
            return float(text.rstrip(".").replace("| Value: ", "").endswith(stated))

        claims = []
        for claim, ids in ((cited.claim, cited.ids) for cited in task.claims):
            each = {name: supports(claim.text, name) for name in ids}
            support = max(each.values())
            claims.append(ClaimVerdict(support=support, substantive=1.0, contributing=each))
        return CitationVerdicts(
            tuple(claims), tuple(SentenceVerdict(factual=1.0) for _ in task.sentences)
        )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = create_app(settings=Settings(ledger="off"), judge=LookupJudge())
    with listening(app) as address:
        yield address


def score(url: str, tool_output: str, block: str, **knobs: Any) -> ScoreResult:
    body = {
        "question": "What is known of the Orm bridge?",
        "tool_output": tool_output,
        "response": f"<think>[9]</think><answer>{block}</answer>",
        "positive_rubrics": ["States the length."],
        **knobs,
    }
    reply = httpx.post(f"{url}/v1/score", json=body, timeout=60.0, trust_env=False)
    return ScoreResult.model_validate_json(reply.raise_for_status().content)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_facts_have_the_same_f1_in_every_notation(url, form):
    result = score(url, *FORMS[form])
    assert result.citation is not None
    assert (result.citation.claims, result.citation.uncited_factual) == (4, 1.0)
    assert (result.citation.citations, result.citation.fabricated) == (4, 0)
    assert result.citation.f1 == pytest.approx(0.6)
    assert result.warnings == ()
    assert result.citation_style == (form if form in ("snippet", "cite") else "numbered")
    given = result.citation_style
    assert score(url, *FORMS[form], citation_style=given).citation == result.citation


def test_invented_numbers_count_as_invented_ids(url):
    result = score(url, LIST, "It opened in 1963 [1, 7]. It is red [8].")
    assert result.citation is not None
    assert (result.citation.fabricated, result.citation.citations) == (2, 3)
    assert (result.citation.recall, result.citation.precision) == (0.5, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("tool_output", "block", "knobs", "kinds"),
    [
        (TAGS, "It opened in 1963 [1].", {}, {"unread_citations": 1}),
        (TAGS, "<cite id=S1>It opened in 1963</cite>", {"citation_style": "snippet"},
         {"unread_citations": 1}),
        (TAGS, "<snippet id=S1>It opened in 1963</snippet>. Red [1][2].", {},
         {"mixed_notations": 2}),
        (TAGS, r"<snippet id=S1>It opened in 1963</snippet> (S1). Red \cite{S2}.", {},
         {"unread_citations": 2}),
        (LIST, "It opened in 1963 [1]. It is [red](https://no.example/a).", {},
         {"unread_citations": 1}),
        ("no result", "It opened in 1963 [1].", {}, {"no_sources": 1}),
        (LIST, "It opened in 1963 [1].", {"citation_style": "snippet"},
         {"no_sources": 1, "unread_citations": 1}),
        (TAGS + "<snippet id=S1>is old</snippet>", "<snippet id=S1>It opened in 1963</snippet>.",
         {}, {"repeated_ids": 1}),
        ("", "It opened in 1963 [1].", {"apply_citation_reward": False}, {}),
    ],
)  # fmt: skip
def test_what_is_not_read_is_a_warning_in_result_and_metrics(url, tool_output, block, knobs, kinds):
    def counted() -> str:
        return httpx.get(f"{url}/metrics", timeout=60.0, trust_env=False).text

    before = counted()
    result = score(url, tool_output, block, **knobs)
    assert {each.kind.value: each.count for each in result.warnings} == kinds
    after = counted()
    for kind in ("unread_citations", "mixed_notations", "no_sources", "repeated_ids"):
        line = f'citemark_warnings_total{{kind="{kind}"}} '
        old, new = (float(text.partition(line)[2].partition("\n")[0]) for text in (before, after))
        assert new - old == (kind in kinds)
