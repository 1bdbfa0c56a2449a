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
    """Of the criterion."""
    polarity: Polarity
    """`negative` for a defect, whose verdict is flipped."""
    source: Source
    """Whether the row brought it or the static set."""
    weight: float
    """Its share in the weighted mean, in [0, 1e6]."""
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
    """Without its tag."""
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
    """How often the answer makes it, 1 or more."""
    span: Span
    """Half-open character range of the first occurrence's tag in `response`."""


class SentenceScore(ResponseModel, Caveats):
    """One sentence of the answer outside the claim tags."""

    text: str
    """As it stands in the answer."""
    span: Span
    """Half-open character range in `response`."""
    factual: Unit | None
    """1.0 counts as an uncited fact; None where it was not judged."""
    variance: Unit | None = None
    """See `RubricScore`."""


class CitationScore(ResponseModel):
    """Citation recall, precision and F1, with the counts that they come from."""

    recall: Unit
    """R, in [0, 1]."""
    precision: Unit
    """P, in [0, 1]."""
    f1: Unit
    """2PR / (P + R), or 0."""
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
    """Ids that no source has, each once a claim."""
    malformed: int = Field(ge=0)
    """Claims in tags that cannot be read."""
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
    """`rubrics`, `rubrics × format bonus`, `citations`, or the name of the penalty."""
    value: Unit
    """In [0, 1]."""
    weight: Finite
    """In units of the reward, `verification_reward` included; negative for a penalty."""
    variance: float | None = None
    """Of `value`; 0 where no verdict counts, else see `reward_std`."""
    lost: tuple[Loss, ...] = ()
    """What is missing to `weight`, or to 0 where that is negative; the amounts add up to it."""


class ScoreWarning(ResponseModel):
    """Something of the rollout, or of the judge's replies, that could not be taken as it was."""

    kind: WarningKind
    """What it is about, of a closed set."""
    message: str
    """For people; holds no rollout text."""
    count: int = Field(ge=1)
    """How many citations or, where the judge is concerned, verdicts it is about; at least 1."""


class JudgeUsage(ResponseModel):
    """What judging this rollout cost."""

    model: str
    """The name of the judge's model."""
    calls: int = Field(0, ge=0)
    """HTTP calls that were answered; 0 where all was cached."""
    prompt_tokens: int = Field(0, ge=0)
    """As its server counts them."""
    cached_tokens: int = Field(0, ge=0)
    """Those among them that its server had already."""
    completion_tokens: int = Field(0, ge=0)
    """As its server counts them."""
    latency_s: float = Field(0.0, ge=0)
    """Wall seconds from the first call's start to the last call's end, queueing included."""


class Versions(ResponseModel):
    """What must be equal for two rewards to be comparable."""

    service: str
    """Of the package."""
    scoring: str
    """Of the formula."""
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
    """The rollout's own, or its position in the request."""
    reward: float | None
    """Null where the judge failed: mask the sample."""
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
    """What the parser saw."""
    rubrics: tuple[RubricScore, ...] = ()
    """One entry a criterion, the row's own first."""
    claims: tuple[ClaimScore, ...] = ()
    """In the order of the answer."""
    uncited: tuple[SentenceScore, ...] = ()
    """In the order of the answer."""
    citation_style: ReadStyle = "snippet"
    """The notation that was read as citations."""
    warnings: tuple[ScoreWarning, ...] = ()
    """What could not be taken as it was."""
    refusal: Refusal | None = None
    """Why nothing was judged, though `reward` is a number."""
    failure: Failure | None = None
    """Why there is no reward."""
    judge: JudgeUsage
    """What it cost."""
    cached: bool = False
    """True where every verdict came from the cache."""
    knobs: Annotated[Knobs, BeforeValidator(_drop_unknown_knobs)]
    """The knobs that this reward was computed with."""
    rollout_hash: str
    """Hex BLAKE2b-128 over the rollout's judged content: question, sources as given, response,
    finish_reason, criteria. Equal hashes mean the same input."""
    versions: Versions
    """What the reward depends on besides rollout and knobs."""


class ScoreResponse(ResponseModel):
    """One result per item, in the order of the request."""

    items: tuple[ScoreResult, ...]
    """As many as were sent."""


class ProblemDetail(ResponseModel):
    """One thing wrong with a request."""

    loc: str
    """The offending place, as `items[3].positive_rubrics[0].weight`, or `body`."""
    message: str
    """For people: what is wrong, and the way out."""


class Problem(ResponseModel):
    """The body of every 4xx and 5xx answer."""

    error: str
    """A stable name, as `invalid_request`, `too_large`, `overloaded`, `shutting_down`."""
    message: str
    """For people: what is wrong, and the way out."""
    details: tuple[ProblemDetail, ...] = ()
    """Each thing that is wrong, where there are several or a place to name."""


class StreamLine(ResponseModel):
    """One output line of `/v1/score/stream`: a result or an error, with its input line number."""

    line: int = Field(ge=1)
    """1-based number of the input line that this answers."""
    type: Literal["result", "error"]
    """Which of the next two is there."""
    result: ScoreResult | None = None
    """Of a line that was a rollout."""
    error: Problem | None = None
    """Of a line that was none."""
