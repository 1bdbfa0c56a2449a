"""What the service returns for a rollout: the reward and everything that led to it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from citemark_schemas.failure import Failure, Refusal
from citemark_schemas.knobs import Finite, Knobs, ReadStyle
from citemark_schemas.model import ResponseModel
from citemark_schemas.rubric import Source
from citemark_schemas.verdict import Caveats, ClaimVariances, Unit, WarningKind
from citemark_schemas.weights import Polarity

Span = tuple[int, int]


class RubricScore(ResponseModel, Caveats):
    """One criterion's part in the reward."""

    title: str
    polarity: Polarity
    source: Source
    weight: float
    raw: Unit
    """The verdict as judged: criterion met, or defect present."""
    score: Unit
    """`raw`, or 1 - `raw` for a negative criterion."""
    variance: Unit | None = None
    """Of the distribution whose mean `raw` is; None where the judge gave none."""
    evidence: str | None = None
    """A quote that was found in the answer."""
    evidence_found: bool | None = None
    """False where the judge's quote is not in the answer; None where it gave none."""


class ClaimScore(ResponseModel, Caveats):
    """One distinct claim; equal claims are merged, with the union of their ids."""

    text: str
    ids: tuple[str, ...]
    """Every id that the claim wrote, in order of first appearance."""
    fabricated: tuple[str, ...] = ()
    """Those among `ids` that the tool output does not define."""
    judged: tuple[str, ...] = ()
    """Those among `ids` that the judge saw: the first valid ones, up to the cap."""
    support: Unit | None
    """s; 0 without a call where nothing could be judged; None where the judge failed."""
    substantive: Unit | None
    """g; None where it was not judged."""
    contributing: dict[str, Unit] = Field(default_factory=dict)
    """c for each judged id."""
    variances: ClaimVariances | None = None
    """Of support, substantive and `contributing`, in order; see `RubricScore`."""
    malformed: str | None = None
    """What is wrong with the tag (`nested`, `unclosed`, `empty`, …); such a claim has support 0."""
    statements: int = Field(1, ge=1)
    """What the claim counts as in N: 1, or its sentences where nothing of it can be judged."""
    occurrences: int = Field(1, ge=1)
    span: Span
    """Half-open character range of the first occurrence's tag in `response`."""


class SentenceScore(ResponseModel, Caveats):
    """One sentence of the answer outside the claim tags."""

    text: str
    span: Span
    factual: Unit | None
    """1.0 counts as an uncited fact; None where it was not judged."""
    variance: Unit | None = None
    """See `RubricScore`."""


class CitationScore(ResponseModel):
    """Citation recall, precision and F1, with the counts that they come from."""

    recall: Unit
    precision: Unit
    f1: Unit
    score: Unit
    """What enters the reward: `f1`, or `no_claims_score` where there is no factual claim."""
    variance: float | None = None
    """Of `score`; see `reward_std`."""
    claims: int = Field(ge=0)
    """N, distinct claims; one of which nothing can be judged counts once for each sentence."""
    uncited_factual: float | None = Field(ge=0)
    """U, expected number of factual sentences outside claim tags; None where no call was needed
    because no claim cites an id that exists (F1 is 0 whatever U is)."""
    citations: int = Field(ge=0)
    """Σ m, citations written by distinct claims."""
    fabricated: int = Field(ge=0)
    malformed: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    """Claims that were merged into an equal one."""


class FormatReport(ResponseModel):
    """What the parser saw, without a judge."""

    checks: dict[str, bool]
    """Each format check by name."""
    unchecked: tuple[str, ...] = ()
    """Checks that were not made: a refused rollout has no single answer to look at."""
    bonus: Unit
    """Share of all checks that pass; one that was not made does not."""
    judge_addressed: tuple[str, ...] = ()
    """Pieces of the answer that talk to a grader; reported for review, never scored."""


class Loss(ResponseModel):
    """One reason why a term of the reward is less than its best."""

    cause: str
    """In words, as `rubric “Height” not met`."""
    amount: float = Field(gt=0, allow_inf_nan=False)
    """In units of the reward."""


class Term(ResponseModel):
    """One summand of the reward: `weight × value`."""

    label: str
    value: Unit
    weight: Finite
    """In units of the reward, `verification_reward` included; negative for a penalty."""
    variance: float | None = None
    """Of `value`; 0 where no verdict counts, else see `reward_std`."""
    lost: tuple[Loss, ...] = ()
    """What is missing to `weight`, or to 0 where that is negative; the amounts add up to it."""


class ScoreWarning(ResponseModel):
    """Something of the rollout, or of the judge's replies, that could not be taken as it was."""

    kind: WarningKind
    message: str
    """For people; holds no rollout text."""
    count: int = Field(ge=1)
    """How many citations or, where the judge is concerned, verdicts it is about; at least 1."""


class JudgeUsage(ResponseModel):
    """What judging this rollout cost."""

    model: str
    calls: int = Field(0, ge=0)
    prompt_tokens: int = Field(0, ge=0)
    cached_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)
    latency_s: float = Field(0.0, ge=0)
    """Wall seconds from the first call's start to the last call's end, queueing included."""


class Versions(ResponseModel):
    """What must be equal for two rewards to be comparable."""

    service: str
    scoring: str
    prompts: str
    """Hash over the judge's prompt templates, or the embedded judge's own version."""
    static_rubrics: str
    """Name and content hash of the static set, or `none`."""


def _drop_unknown_knobs(knobs: Any) -> Any:
    """As `ResponseModel` does; `Knobs` itself is a request's too, where they are an error."""
    if not isinstance(knobs, Mapping):
        return knobs
    known = {name: knobs[name] for name in knobs.keys() & Knobs.model_fields.keys()}
    # Versions without this knob read one notation only.
    return {"citation_style": "snippet", **known}


class ScoreResult(ResponseModel):
    """One rollout's reward. Exactly one of `reward` and `failure` is null."""

    id: str
    reward: float | None
    reward_std: float | None = None
    """Standard deviation of the reward if the judge drew each verdict from its own probabilities,
    independently; to first order. None where there is no reward, and where the probabilities of a
    verdict that counts are not known: without logprobs, or from a cache of before."""
    rubric_reward: Unit | None
    """None where it was not judged."""
    citation: CitationScore | None
    """None where it was not judged or `apply_citation_reward` is false."""
    terms: tuple[Term, ...] = ()
    """What `reward` is the sum of; empty where it is null, or 0 because of a refusal."""
    format: FormatReport
    rubrics: tuple[RubricScore, ...] = ()
    claims: tuple[ClaimScore, ...] = ()
    uncited: tuple[SentenceScore, ...] = ()
    citation_style: ReadStyle = "snippet"
    """The notation that was read as citations."""
    warnings: tuple[ScoreWarning, ...] = ()
    refusal: Refusal | None = None
    failure: Failure | None = None
    judge: JudgeUsage
    cached: bool = False
    """True where every verdict came from the cache."""
    knobs: Annotated[Knobs, BeforeValidator(_drop_unknown_knobs)]
    """The knobs that this reward was computed with."""
    rollout_hash: str
    """Hex BLAKE2b-128 over the rollout's judged content: question, sources as given, response,
    finish_reason, criteria. Equal hashes mean the same input."""
    versions: Versions


class ScoreResponse(ResponseModel):
    """One result per item, in the order of the request."""

    items: tuple[ScoreResult, ...]


class ProblemDetail(ResponseModel):
    """One thing wrong with a request."""

    loc: str
    """The offending place, as `items[3].positive_rubrics[0].weight`, or `body`."""
    message: str


class Problem(ResponseModel):
    """The body of every 4xx and 5xx answer."""

    error: str
    """A stable name, as `invalid_request`, `too_large`, `overloaded`, `shutting_down`."""
    message: str
    details: tuple[ProblemDetail, ...] = ()


class StreamLine(ResponseModel):
    """One output line of `/v1/score/stream`: a result or an error, with its input line number."""

    line: int = Field(ge=1)
    """1-based number of the input line that this answers."""
    type: Literal["result", "error"]
    result: ScoreResult | None = None
    error: Problem | None = None
