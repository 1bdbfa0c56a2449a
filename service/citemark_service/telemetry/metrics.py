"""Prometheus metrics. Label values are from closed sets, with their series from the start."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from importlib.metadata import version
from typing import Final, Literal, TypeVar, get_args

from cachetools import LRUCache
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder

from citemark_schemas import FailureKind, RefusalKind, ScoreResult, Source, WarningKind

Label = TypeVar("Label", bound=str)
Measure = Callable[[], float]
"""A gauge's value; read at each scrape, in the event loop's thread."""

CallOutcome = FailureKind | Literal["ok"]
Stage = Literal["parse", "queue", "criteria", "citations", "score"]
CacheOperation = Literal["read", "write", "value"]
"""What failed in a verdict cache; `value` is an entry that is no verdict."""
ProbeAspect = Literal["grammar", "logprobs", "prefix_cache"]
"""What the start-up probe looks for in a server of the judge."""

_NAMESPACE: Final = "citemark"
_INSTANCE: Final = "instance"  # shared by all rubrics that come with rows
_SERVER_GAUGES: Final = {
    "up": "1 while calls are sent to the server.",
    "limit": "Calls that the server is sent at once, at most.",
    "in_flight": "Calls that the server has not answered.",
    "waiting": "Calls that wait for one of the server's slots.",
}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_CHARACTERS = (250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12_000, 20_000, 50_000)
_GROUPS = 4_096  # whose rewards' number and mean are remembered
_SHARE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """prometheus-client objects in their own registry; dictionaries hold one by label value."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._groups: LRUCache[Hashable, tuple[int, float]] = LRUCache(_GROUPS)
        self._counter = partial(Counter, namespace=_NAMESPACE, registry=self.registry)
        self._gauge = partial(Gauge, namespace=_NAMESPACE, registry=self.registry)
        self._histogram = partial(Histogram, namespace=_NAMESPACE, registry=self.registry)
        self._seconds = partial(self._histogram, buckets=_SECONDS)
        self._shares = partial(self._histogram, buckets=_SHARE)
        build = Info("build", "What is running.", namespace=_NAMESPACE, registry=self.registry)
        build.info({"version": version("citemark")})
        self._declare_service()
        self._declare_judge()
        self._declare_rewards()

    def _count_by(
        self, label: str, values: Iterable[Label], name: str, text: str
    ) -> dict[Label, Counter]:
        counter = self._counter(name, text, [label])
        return {value: counter.labels(value) for value in values}

    def _declare_service(self) -> None:
        self.requests = self._counter("requests", "HTTP requests answered.", ["route", "status"])
        text = "Wall time of a request."
        self.request_seconds = self._seconds("request_seconds", text, ["route"])
        self.inflight_requests = self._gauge("inflight_requests", "Requests not yet answered.")
        stages = self._seconds("stage_seconds", "Time of one stage.", ["stage"])
        # `queue` is one call's wait for its slot.
        self.stages: dict[Stage, Histogram] = {s: stages.labels(s) for s in get_args(Stage)}
        text = "Spans exported, or lost."
        self.trace_spans = self._count_by("outcome", ("exported", "lost"), "trace_spans", text)
        text = "Verdicts by where they came from."
        self.verdicts = self._count_by("from", ("judge", "cache", "joined"), "verdicts", text)
        operations: tuple[CacheOperation, ...] = get_args(CacheOperation)
        text = "Failures of the verdict cache."
        self.cache_errors = self._count_by("operation", operations, "cache_errors", text)
        self.cache_entries = self._gauge("cache_entries", "Verdicts kept in memory.")
        text = "Rollouts kept by the ledger, posted again, or lost."
        outcomes = ("kept", "again", "lost")
        self.ledger_rollouts = self._count_by("outcome", outcomes, "ledger_rollouts", text)
        self.ledger_waiting = self._gauge("ledger_waiting", "Rollouts that wait to be kept.")
        text = "1 while the ledger's database cannot be used."
        self.ledger_trouble = self._gauge("ledger_trouble", text)

    def _declare_judge(self) -> None:
        outcomes: tuple[CallOutcome, ...] = ("ok", *FailureKind)
        self._calls = self._count_by("outcome", outcomes, "judge_calls", "HTTP calls to the judge.")
        kinds = ("prompt", "cached", "completion")
        self._tokens = self._count_by("type", kinds, "judge_tokens", "Tokens the judge counted.")
        text = "Wall time of one call to the judge."
        self._call_seconds = self._seconds("judge_call_seconds", text)
        text = "Calls and replies tried again."
        self._retries = self._count_by("kind", FailureKind, "judge_retries", text)
        text = "Prefixes sent ahead of their group."
        self.primes = self._count_by("outcome", ("primed", "failed", "late"), "primes", text)
        pair = ["server", "outcome"]
        self.server_calls = self._counter("judge_server_calls", "Attempts at one server.", pair)
        text = "Times that a server was given up."
        self.server_ejections = self._counter("judge_server_ejections", text, ["server"])
        # By server: whether calls are sent to it.
        self.servers_up: dict[str, Measure] = {}
        self._servers = {
            name: self._gauge(f"judge_server_{name}", text, ["server"])
            for name, text in _SERVER_GAUGES.items()
        }
        text = (
            "1 where the probe at start-up saw the server do it, 0 where it saw that it does not."
        )
        self.probes = self._gauge("judge_probe", text, ["server", "aspect"])

    def _declare_rewards(self) -> None:
        outcomes = ("scored", "refused", "failed")
        self._rollouts = self._count_by("outcome", outcomes, "rollouts", "Rollouts answered.")
        text = "Rollouts without a verdict."
        self._failures = self._count_by("kind", FailureKind, "failures", text)
        text = "Rollouts that were not judged."
        self._refusals = self._count_by("kind", RefusalKind, "refusals", text)
        text = "Rollouts with a warning, by what was not understood."
        self._warnings = self._count_by("kind", WarningKind, "warnings", text)
        buckets = (*_SHARE, 1.1, 1.2)
        self._reward = self._histogram(
            "reward", "Reward over verification_reward.", buckets=buckets
        )
        self._rubric = self._shares("rubric_reward", "Rubric part of the reward.")
        self._f1 = self._shares("citation_f1", "Citation F1.")
        self._precision = self._shares("citation_precision", "Citation precision.")
        self._recall = self._shares("citation_recall", "Citation recall.")
        # A rubric's mean score over a period: the increase of the first over that of the second.
        text = "Sum of scores, flipped where negative."
        self._rubric_scores = self._counter("rubric_scores", text, ["rubric"])
        self._rubric_verdicts = self._counter("rubric_verdicts", "Verdicts scored.", ["rubric"])
        self.add_rubrics([_INSTANCE])
        # Sums for the correlation of length and reward; those of the values themselves, and the
        # count, are in the two histograms.
        text = "Length of a scored answer."
        self._characters = self._histogram("answer_characters", text, buckets=_CHARACTERS)
        text = "Sum of reward times length of the answer."
        self._products = self._counter("reward_answer_characters", text)
        self._reward_squares = self._counter("reward_squares", "Sum of squared rewards.")
        text = "Sum of squared lengths of answers."
        self._length_squares = self._counter("answer_characters_squares", text)
        # The second over the first is `group_noise`, both of the same rewards over their scale.
        text = "Sum of squared deviations of rewards from the mean of their group."
        self._group_squares = self._counter("group_reward_squares", text)
        text = "Sum of squared standard deviations of rewards by the judge's own probabilities."
        self._noise_squares = self._counter("group_noise_squares", text)

    def add_rubrics(self, titles: Iterable[str]) -> None:
        """Create the series of these titles."""
        # From the library's files: a caller could add titles, and thus series, without end.
        for title in titles:
            self._rubric_scores.labels(title)
            self._rubric_verdicts.labels(title)

    def add_gauge(self, name: str, text: str, measure: Measure) -> None:
        """Add a gauge without labels, named `citemark_{name}`."""
        self._gauge(name, text).set_function(measure)

    def add_server(self, name: str, **measures: Measure) -> None:
        """Add a judge server `HOST:PORT` with its `up`, `limit`, `in_flight` and `waiting`."""
        self.servers_up[name] = measures["up"]
        # Series exist from the start, so that a first increase is visible as one.
        self.server_ejections.labels(name)
        for outcome in self._calls:
            self.server_calls.labels(name, outcome)
        for gauge, measure in measures.items():
            self._servers[gauge].labels(name).set_function(measure)

    def count_call(self, outcome: CallOutcome, seconds: float, **tokens: int) -> None:
        """Count an HTTP call to the judge, and its `prompt`, `cached` and `completion` tokens."""
        self._calls[outcome].inc()
        self._call_seconds.observe(seconds)
        for kind, count in tokens.items():
            self._tokens[kind].inc(count)

    def count_retry(self, kind: FailureKind) -> None:
        self._retries[kind].inc()

    def count_sample(self, group: Hashable, result: ScoreResult) -> None:
        """Add a reward whose noise is known to its group, of which the last `_GROUPS` are kept."""
        if result.reward is None or result.reward_std is None:
            return
        scale = result.knobs.verification_reward
        reward, (count, mean) = result.reward / scale, self._groups.get(group, (0, 0.0))
        off = reward - mean
        mean += off / (count + 1)
        self._groups[group] = (count + 1, mean)
        if count:  # each reward but the first is one degree of freedom
            self._group_squares.inc(off * (reward - mean))
            self._noise_squares.inc((result.reward_std / scale) ** 2)

    def count_rollout(self, result: ScoreResult, *, answer_characters: int) -> None:
        """Count a finished rollout; `answer_characters` is 0 where it has no answer."""
        for warning in result.warnings:
            self._warnings[warning.kind].inc()
        if result.failure is not None:
            self._rollouts["failed"].inc()
            self._failures[result.failure.kind].inc()
        elif result.refusal is not None:
            self._rollouts["refused"].inc()
            self._refusals[result.refusal.kind].inc()
        else:
            self._rollouts["scored"].inc()
            self._observe_scores(result, answer_characters)

    def _observe_scores(self, result: ScoreResult, characters: int) -> None:
        if result.reward is not None:
            # Over the scale, which each request may choose, so that one set of buckets fits.
            reward = result.reward / result.knobs.verification_reward
            self._reward.observe(reward)
            self._characters.observe(characters)
            # A counter cannot fall: a reward that a penalty took below 0 counts as 0 in this one.
            self._products.inc(max(0.0, reward) * characters)
            self._reward_squares.inc(reward**2)
            self._length_squares.inc(characters * characters)
        for rubric in result.rubrics:
            title = rubric.title if rubric.source is Source.STATIC else _INSTANCE
            self._rubric_scores.labels(title).inc(rubric.score)
            self._rubric_verdicts.labels(title).inc()
        if result.rubric_reward is not None:
            self._rubric.observe(result.rubric_reward)
        if result.citation is not None:
            self._f1.observe(result.citation.f1)
            self._precision.observe(result.citation.precision)
            self._recall.observe(result.citation.recall)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text in the format that `accept` prefers, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
