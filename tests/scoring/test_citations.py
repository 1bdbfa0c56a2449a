"""Citation recall, precision and F1 against the design page's formulas."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import CitationScore, ClaimScore, SentenceScore
from citemark_service.parsing.parsed import Answer, Claim, Sources, SourceSnippet
from citemark_service.score.citations import f1, fabricated_ids, judgeable_ids, score_citations

IDS = ("a", "b", "c", "d", "e", "f")
SOURCES = Sources({i: SourceSnippet(i, f"text {i}", f"paper-{i in 'ab'}") for i in IDS})
units = st.floats(0, 1, allow_nan=False)


def score(claims=(), sentences=(), answer=Answer(), **knobs) -> CitationScore:  # noqa: B008
    return score_citations(claims, sentences, answer=answer, sources=SOURCES, **knobs)


def claim(support=1.0, substantive=1.0, ids=("a",), judged=None, **extra) -> ClaimScore:
    shown = tuple(i for i in ids if i in IDS)[:5] if judged is None else judged
    fields = {
        "text": "t",
        "ids": ids,
        "judged": shown,
        "support": support,
        "substantive": substantive,
        "contributing": dict.fromkeys(shown, 1.0),
        "fabricated": tuple(i for i in ids if i not in IDS),
        "span": (0, 1),
    }
    return ClaimScore(**{**fields, **extra})


def sentence(factual=1.0) -> SentenceScore:
    return SentenceScore(text="s", span=(0, 1), factual=factual)


@st.composite
def claims(draw) -> ClaimScore:
    ids = tuple(draw(st.lists(st.sampled_from((*IDS, "x", "y")), unique=True, max_size=8)))
    shown = tuple(i for i in ids if i in IDS)[:5]
    contributing = {i: draw(units) for i in shown}
    support = draw(units) if shown else 0.0
    return claim(support, draw(units), ids, shown, contributing=contributing)


answers = st.tuples(st.lists(claims(), max_size=6), st.lists(units.map(sentence), max_size=4))


def test_the_formulas_by_hand():
    # Two ids of which one contributes half, a fabricated id beside it, one uncited fact.
    first = claim(1.0, 1.0, ("a", "b", "x"), contributing={"a": 1.0, "b": 0.5})
    second = claim(0.5, 1.0, ("c",))
    result = score([first, second], [sentence(1.0), sentence(0.0)])
    assert result.recall == pytest.approx((1.0 + 0.5) / (2 + 1))
    assert result.precision == pytest.approx((1.5 + 0.5) / (3 + 1 + 1))
    assert result.f1 == pytest.approx(2 * 0.5 * 0.4 / 0.9)
    assert (result.claims, result.uncited_factual, result.citations) == (2, 1.0, 4)
    assert (result.fabricated, result.score) == (1, result.f1)


def test_ids_of_one_paper_are_one_citation_and_an_invented_id_is_no_paper():
    two = claim(1.0, 1.0, ("a", "b"), contributing={"a": 1.0, "b": 0.0})
    assert score([two]).precision == pytest.approx(0.5)
    assert score([two], unit="paper").precision == pytest.approx(1.0)
    named_like_its_paper = claim(1.0, 1.0, ("a", "paper-True"))
    assert score([named_like_its_paper], unit="paper").precision == pytest.approx(0.5)


BUNDLED = claim(0.0, None, ("x",), (), statements=4)
NO_ID = claim(0.0, None, (), (), malformed="no_id")


@pytest.mark.parametrize(("bad", "facts"), [(BUNDLED, 4), (NO_ID, 1)], ids=["bundled", "no id"])
def test_a_bad_tag_is_as_dear_as_the_facts_in_it(bad, facts):
    untagged, tagged = score([claim()], [sentence(1.0)] * facts), score([claim(), bad])
    assert (tagged.recall, tagged.precision) == (untagged.recall, untagged.precision)


def test_only_an_answer_that_states_nothing_earns_the_no_claims_score():
    abstained = partial(score, no_claims_score=0.7)
    assert abstained().score == abstained([], [sentence(0.0)]).score == 0.7
    for stated in ([sentence(1.0)], [sentence(None)]):
        assert abstained([], stated).score == 0.0
    assert abstained([claim(0.0)]).score == abstained(answer=Answer(stray_tags=1)).score == 0.0


def test_the_cap_takes_the_first_valid_ids_and_malformed_tags_are_not_judged():
    written = Claim("t", ("x", "f", "a", "b", "c", "d", "e"), (0, 1))
    assert judgeable_ids(written, SOURCES) == ("f", "a", "b", "c", "d")
    assert fabricated_ids(written, SOURCES) == ("x",)
    assert judgeable_ids(replace(written, malformed="nested"), SOURCES) == ()


@given(units, units)
def test_f1_lies_between_its_parts(precision, recall):
    value = f1(precision, recall)
    assert value == f1(recall, precision)
    if min(precision, recall) == 0:
        assert value == 0
    else:
        assert min(precision, recall) * (1 - 1e-9) <= value
        assert value <= max(precision, recall) * (1 + 1e-9)


@given(answers, st.randoms(use_true_random=False))
def test_everything_is_in_the_unit_interval_and_order_does_not_matter(answer, random):
    result = score(*answer)
    for value in (result.recall, result.precision, result.f1, result.score):
        assert 0 <= value <= 1
    shuffled = [random.sample(part, len(part)) for part in answer]
    assert score(*shuffled).f1 == pytest.approx(result.f1, abs=1e-12)


@given(answers, claims(), units)
def test_more_support_never_lowers_the_score(answer, extra, better):
    rest, sentences = answer
    raised = extra.model_copy(update={"support": max(extra.support, better)})
    before, after = score([*rest, extra], sentences), score([*rest, raised], sentences)
    assert after.f1 >= before.f1 - 1e-12


@given(answers, claims())
def test_untagging_an_unsupported_claim_never_gains(answer, bad):
    rest, sentences = answer
    unsupported = bad.model_copy(update={"support": 0.0})
    tagged = score([*rest, unsupported], sentences)
    untagged = score(rest, [*sentences, sentence(1.0)])
    # One uncited fact replaces one claim in N and at least one citation in Σ m.
    assert untagged.recall == pytest.approx(tagged.recall, abs=1e-12)
    if len(unsupported.ids) <= 1:
        assert untagged.f1 <= tagged.f1 + 1e-12


@given(answers, claims(), st.sampled_from(["x9", "y9"]))
def test_neither_uncited_facts_nor_trivial_claims_nor_invented_ids_help(answer, extra, fake):
    rest, sentences = answer
    before = score(rest, sentences).f1 + 1e-12
    assert score(rest, [*sentences, sentence(1.0)]).f1 <= before
    assert score([*rest, claim(1.0, 0.0)], sentences).f1 <= before
    padded = extra.model_copy(update={"ids": (*extra.ids, fake), "fabricated": (fake,)})
    assert score([*rest, padded], sentences).f1 <= score([*rest, extra], sentences).f1 + 1e-12
