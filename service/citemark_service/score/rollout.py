"""One rollout: parsed, made into judge tasks, and its verdicts made into a result. Pure."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from citemark_rubrics import RubricLibrary
from citemark_schemas import (
    CitationScore,
    CitationStyle,
    ClaimScore,
    ClaimVerdict,
    Criterion,
    CriterionVerdict,
    Failure,
    FormatReport,
    JudgeUsage,
    Knobs,
    Refusal,
    RefusalKind,
    Rollout,
    ScoreResult,
    ScoreWarning,
    SentenceScore,
    SentenceVerdict,
    Snippet,
    Versions,
    WarningKind,
)
from citemark_schemas.rollout import conversation_key
from citemark_service.errors import InvalidVerdict
from citemark_service.judges.tasks import (
    CitationTask,
    CitationVerdicts,
    CitedClaim,
    CriteriaTask,
    Origin,
    Words,
)
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.fingerprint import frame_texts
from citemark_service.parsing.format import format_report
from citemark_service.parsing.parsed import Answer, Claim, Sentence, Sources, Unread
from citemark_service.parsing.sources import read_sources
from citemark_service.parsing.units import statements
from citemark_service.score.caveats import warn_of_caveats
from citemark_service.score.citations import fabricated_ids, judgeable_ids, score_citations
from citemark_service.score.criteria import choose_criteria, find_static_set, static_pin
from citemark_service.score.formula import add_reward, rubric_reward, score_criterion

ReadSources = Callable[[str | None, tuple[Snippet, ...] | None, CitationStyle], Sources]
"""`read_sources`, or a caching version of it."""

_HASH_BYTES: Final = 16
_SHOWN_IDS, _ID_CHARS = 5, 80
_NOTATIONS: Final[Mapping[Unread, str]] = {
    "snippet": "<snippet id=…>",
    "cite": "<cite id=…>",
    "numbered": "numbered [1]",
    "other": r"(S1), \cite{S1} or the like",
    "link": "links to an address that no source has",
}
_REFUSALS: Final = {
    RefusalKind.NO_ANSWER: "the response has no complete <answer> block",
    RefusalKind.SEVERAL_ANSWERS: "the response has more than one <answer> block",
    RefusalKind.EMPTY_ANSWER: "the <answer> block says nothing",
    RefusalKind.NOT_STOPPED: "finish_reason is not stop",
}


@dataclass(frozen=True, slots=True)
class Verdicts:
    criteria: tuple[CriterionVerdict, ...]  # in the order of the rollout's criteria
    task: CitationTask | None
    """What `citations` answers; None where the citations were not asked about."""
    citations: CitationVerdicts | None


@dataclass(frozen=True, slots=True)
class ScoredRollout:
    """A rollout with its result, as the ledger stores it."""

    rollout: Rollout
    result: ScoreResult
    run: str | None
    step: int | None
    at: float  # Unix time in seconds
    replies: tuple[Words, ...] = ()
    """Raw replies of the judge; none where every verdict came from a cache."""
    position: int = 0  # index in the request; distinguishes samples with equal responses


@dataclass(frozen=True, slots=True)
class ParsedRollout:
    """A rollout with all that is derived from its text, settings and rubrics."""

    id: str
    rollout: Rollout
    hash: str
    knobs: Knobs  # settings, request and rollout merged
    criteria: tuple[Criterion, ...]
    static_rubrics: str  # name and version of the static set, or `none`
    sources: Sources
    unread_sources: bool  # the tool output has sources, of which `citation_style` reads none
    answer: Answer
    format: FormatReport

    @property
    def refusal(self) -> RefusalKind | None:
        """Why the rollout is not judged; None where it is."""
        # Before the answer's own: a response that was cut off rarely has a complete answer block.
        if self.knobs.non_stop_penalty and self.rollout.finish_reason != "stop":
            return RefusalKind.NOT_STOPPED
        return self.answer.refusal

    def criteria_task(self, origin: Origin) -> CriteriaTask:
        return CriteriaTask(
            question=self.rollout.question,
            sources=self.sources,
            answer=self.answer,
            format=self.format,
            criteria=self.criteria,
            origin=origin,
            conversation=self.rollout.conversation or (),
        )

    def citation_task(self, origin: Origin, *, cap: int) -> CitationTask | None:
        """At most `cap` claims and sentences; None where no verdict could change the score."""
        if not self.knobs.apply_citation_reward:
            return None
        answer = self.answer
        cited = ((claim, judgeable_ids(claim, self.sources)) for claim in answer.claims)
        claims = tuple(CitedClaim(claim, ids) for claim, ids in cited if ids)[:cap]
        # Without a claim that cites an existing id F1 is 0 whatever the judge says. Only
        # `no_claims_score` can then pay, and it depends on whether the sentences state facts.
        may_abstain = not answer.claims and self.knobs.no_claims_score > 0
        if not claims and not (may_abstain and answer.sentences):
            return None
        sentences = answer.sentences[:cap]
        asked = self.rollout
        return CitationTask(
            asked.question, self.sources, claims, sentences, origin, asked.conversation or ()
        )

    def refuse(self, kind: RefusalKind, judge: JudgeUsage, versions: Versions) -> ScoreResult:
        """The result of a refused rollout: reward 0, or the unscaled non-stop penalty."""
        refusal = Refusal(kind=kind, message=_REFUSALS[kind])
        return self._result(judge, versions, refusal=refusal)

    def fail(self, failure: Failure, judge: JudgeUsage, versions: Versions) -> ScoreResult:
        """The result of a rollout whose judge failed: every reward and verdict is None."""
        claims = self._score_claims({}, unjudged=None)
        uncited = self._score_sentences(None)
        return self._result(judge, versions, claims=claims, uncited=uncited, failure=failure)

    def require_all(self, verdicts: Verdicts) -> None:
        """Raise `InvalidVerdict`, naming what is missing, if the judge left out any verdict."""
        counts = [("criteria", len(self.criteria), len(verdicts.criteria))]
        if verdicts.task is not None and verdicts.citations is not None:
            task, citations = verdicts.task, verdicts.citations
            counts.append(("claims", len(task.claims), len(citations.claims)))
            counts.append(("sentences", len(task.sentences), len(citations.sentences)))
            for number, (cited, verdict) in enumerate(
                zip(task.claims, citations.claims, strict=False), 1
            ):
                # A single id carries the whole claim: its contribution is 1 and is not asked.
                missing = [i for i in cited.ids if i not in verdict.contributing]
                if missing and len(cited.ids) > 1:
                    ids = ", ".join(map(repr, missing))
                    raise InvalidVerdict(f"claim {number}: no contribution of {ids}")
        for name, asked, given in counts:
            if asked != given:
                raise InvalidVerdict(f"{given} verdicts on {asked} {name}")

    def score(
        self, verdicts: Verdicts, judge: JudgeUsage, versions: Versions, *, cached: bool
    ) -> ScoreResult:
        """The result of a judged rollout; `cached`: every verdict came from a cache."""
        pairs = zip(self.criteria, verdicts.criteria, strict=True)
        rubrics = tuple(score_criterion(criterion, verdict) for criterion, verdict in pairs)
        claims, uncited, citation = self.score_citations(verdicts.task, verdicts.citations)
        return self._result(
            judge,
            versions,
            rubric_reward=rubric_reward(rubrics),
            citation=citation,
            rubrics=rubrics,
            claims=claims,
            uncited=uncited,
            cached=cached,
        )

    def score_citations(
        self, task: CitationTask | None, verdicts: CitationVerdicts | None
    ) -> tuple[tuple[ClaimScore, ...], tuple[SentenceScore, ...], CitationScore | None]:
        """Every claim and sentence, and what the citations earn: None where they do not count."""
        of_claims: dict[Claim, ClaimVerdict] = {}
        of_sentences: dict[Sentence, SentenceVerdict] | None = None
        if task is not None and verdicts is not None:
            judged = (cited.claim for cited in task.claims)
            of_claims = dict(zip(judged, verdicts.claims, strict=True))
            of_sentences = dict(zip(task.sentences, verdicts.sentences, strict=True))
        unjudged = 0.0 if self.knobs.apply_citation_reward else None
        claims = self._score_claims(of_claims, unjudged=unjudged)
        uncited = self._score_sentences(of_sentences)
        if not self.knobs.apply_citation_reward:
            return claims, uncited, None
        citation = score_citations(
            claims,
            uncited,
            answer=self.answer,
            sources=self.sources,
            unit=self.knobs.citation_unit,
            no_claims_score=self.knobs.no_claims_score,
        )
        return claims, uncited, citation

    def _result(self, judge: JudgeUsage, versions: Versions, **parts: Any) -> ScoreResult:
        fields: dict[str, Any] = {"rubric_reward": None, "citation": None, **parts}
        judged = [*fields.get("rubrics", ()), *fields.get("claims", ()), *fields.get("uncited", ())]
        draft = ScoreResult(
            id=self.id,
            rollout_hash=self.hash,
            reward=None,
            format=self.format,
            citation_style=self.answer.style,
            warnings=(*self._warn(), *warn_of_caveats(judged)),
            judge=judge,
            knobs=self.knobs,
            versions=versions,
            **fields,
        )
        return add_reward(draft, self.answer)

    def _warn(self) -> Iterator[ScoreWarning]:
        """What of the citations was not understood; nothing where they do not count."""
        if not self.knobs.apply_citation_reward:
            return
        answer = self.answer
        if not self.sources.by_id:
            message = "the tool output defines no source, so no citation can count"
            if self.unread_sources:
                message += f": citation_style {self.knobs.citation_style} reads <snippet id=…> only"
            cited = sum(len(claim.ids) for claim in answer.claims)
            yield ScoreWarning(kind=WarningKind.NO_SOURCES, message=message, count=max(1, cited))
        written = dict.fromkeys(name for claim in answer.claims for name in claim.ids)
        if repeated := [name for name in written if name in self.sources.repeated]:
            shown = ", ".join(name[:_ID_CHARS] for name in repeated[:_SHOWN_IDS])
            yield ScoreWarning(
                kind=WarningKind.REPEATED_IDS,
                message=f"ids that several texts of the sources have mean all of them: {shown}",
                count=len(repeated),
            )
        if not answer.unread:
            return
        mixed = self.knobs.citation_style == "auto" and bool(answer.claims)
        mixed = mixed and any(style not in ("other", "link") for style in answer.unread)
        kinds = ", ".join(f"{count} {_NOTATIONS[style]}" for style, count in answer.unread.items())
        yield ScoreWarning(
            kind=WarningKind.MIXED_NOTATIONS if mixed else WarningKind.UNREAD_CITATIONS,
            message=f"read as citations: {_NOTATIONS[answer.style]}; not read: {kinds}",
            count=sum(answer.unread.values()),
        )

    def _score_claims(
        self, verdicts: Mapping[Claim, ClaimVerdict], *, unjudged: float | None
    ) -> tuple[ClaimScore, ...]:
        """Every distinct claim. `unjudged` is the support of those that were not judged: malformed,
        without a valid id, or beyond the cap. It is 0, or None where there are no verdicts at all.
        """
        scores = []
        for claim in self.answer.claims:
            judgeable = judgeable_ids(claim, self.sources)
            verdict = verdicts.get(claim)
            shares: Mapping[str, float] = {}
            variances = None
            if verdict is not None:
                alone = len(judgeable) == 1  # a single id carries the whole claim
                shares = {i: 1.0 if alone else verdict.contributing[i] for i in judgeable}
                variances = verdict.variances
                if alone and variances:
                    variances = (*variances[:2], 0.0)
            scores.append(
                ClaimScore(
                    text=claim.text,
                    ids=claim.ids,
                    fabricated=fabricated_ids(claim, self.sources),
                    judged=tuple(shares),
                    support=verdict.support if verdict else unjudged,
                    substantive=verdict.substantive if verdict else None,
                    contributing=dict(shares),
                    variances=variances,
                    malformed=claim.malformed,
                    statements=1 if judgeable else statements(claim.text),
                    occurrences=claim.occurrences,
                    span=claim.span,
                    caveats=verdict.caveats if verdict else (),
                )
            )
        return tuple(scores)

    def _score_sentences(
        self, verdicts: Mapping[Sentence, SentenceVerdict] | None
    ) -> tuple[SentenceScore, ...]:
        """Every sentence outside the tags; `verdicts` is None where none was judged."""
        scores = []
        for sentence in self.answer.sentences:
            verdict = verdicts.get(sentence) if verdicts is not None else None
            # Sentences beyond the cap count as facts, so that padding an answer never helps.
            unjudged = None if verdicts is None else 1.0
            scores.append(
                SentenceScore(
                    text=sentence.text,
                    span=sentence.span,
                    factual=verdict.factual if verdict else unjudged,
                    variance=verdict.variance if verdict else unjudged and 0.0,
                    caveats=verdict.caveats if verdict else (),
                )
            )
        return tuple(scores)


def parse_rollout(
    rollout: Rollout,
    knobs: Knobs,
    library: RubricLibrary,
    position: int,
    *,
    read_sources: ReadSources = read_sources,
) -> ParsedRollout:
    """Parse a rollout that has passed `check_rollout`; `position` replaces a missing id."""
    static = find_static_set(library, knobs)
    style = knobs.citation_style
    sources = read_sources(rollout.tool_output, rollout.snippets, style)
    answer = read_answer(rollout.response, style, sources)
    unread = style != "auto" and not sources.by_id
    return ParsedRollout(
        id=rollout_id(rollout, position),
        rollout=rollout,
        hash=rollout_hash(rollout),
        knobs=knobs,
        criteria=choose_criteria(rollout, static),
        static_rubrics=static_pin(static),
        sources=sources,
        unread_sources=unread and bool(read_sources(rollout.tool_output, None, "auto").by_id),
        answer=answer,
        format=format_report(answer, sources),
    )


def rollout_id(rollout: Rollout, position: int) -> str:
    return rollout.id if rollout.id is not None else str(position)


def rollout_hash(rollout: Rollout) -> str:
    """`ScoreResult.rollout_hash`: 32 hex digits over texts, sources, criteria and finish reason.

    Neither id, knobs, metadata nor the form of rubrics count; missing and empty fields differ.
    """

    def texts() -> Iterator[str | None]:
        # Unambiguous: a list is preceded by its length, or is the last one; no question is None.
        yield from conversation_key(rollout.conversation or ())
        yield from (rollout.question, rollout.tool_output, rollout.response, rollout.finish_reason)
        yield None if rollout.snippets is None else str(len(rollout.snippets))
        for snippet in rollout.snippets or ():
            yield from snippet.key
        for criterion in rollout.criteria:
            yield from (*criterion.key, repr(criterion.weight))

    return hashlib.blake2b(frame_texts(*texts()), digest_size=_HASH_BYTES).hexdigest()
