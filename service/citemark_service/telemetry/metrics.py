"""Prometheus metrics. Every label is from a closed set; children are bound once."""

from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import choose_encoder

from citemark_schemas import (
    CitationScore,
    FailureKind,
    RefusalKind,
    RubricScore,
    ScoreResult,
    Source,
)
from citemark_service.judges.protocol import Usage
from citemark_service.web.admission import Admission

PrimeOutcome = Literal["primed", "failed", "late"]
Stage = Literal["parse", "queue", "criteria", "citations", "score"]
CacheOperation = Literal["read", "write", "value"]
"""What a verdict cache failed at; `value` is one that was kept and is no verdict."""
ProbeAspect = Literal["grammar", "logprobs", "prefix_cache"]
"""What the probe looks at in a server of the judge."""


class JudgeServer(Protocol):
    """A server that the judge sends calls to, as seen from here."""

    @property
    def name(self) -> str:
        """Host and port, from the settings."""
        ...

    @property
    def up(self) -> bool:
        """Whether calls are sent to it."""
        ...

    @property
    def limit(self) -> int:
        """Calls that it is sent at once, at most."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls that it has and has not answered."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for one of its slots."""
        ...


class LedgerQueue(Protocol):
    """The rollouts that the ledger was given and has not kept, as seen from here."""

    @property
    def waiting(self) -> int:
        """Rollouts that wait to be kept; the few of a moment where all is well."""
        ...

    @property
    def troubled(self) -> bool:
        """Whether the database could not be used when it was last tried."""
        ...


_INSTANCE = "instance"
_STAGES: tuple[Stage, ...] = ("parse", "queue", "criteria", "citations", "score")
_PRIMES: tuple[PrimeOutcome, ...] = ("primed", "failed", "late")
_SERVER_GAUGES = {
    "up": "1 while calls are sent to the server.",
    "limit": "Calls that the server is sent at once, at most.",
    "in_flight": "Calls that the server has not answered.",
    "waiting": "Calls that wait for one of the server's slots.",
}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)
_CHARACTERS = (250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12_000, 20_000, 50_000)
_SHARE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Metrics:
    """The service's counters in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._bind_requests()
        self._bind_judge()
        self._bind_servers()
        self._bind_verdicts()
        self._bind_rollouts()
        self._bind_ledger()
        self._bind_scores()
        self._bind_rubrics()
        self._bind_length()
        build = Info("citemark_build", "What is running.", registry=self.registry)
        build.info({"version": version("citemark")})

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"citemark_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        full = f"citemark_{name}"
        return Histogram(full, text, labels, buckets=buckets, registry=self.registry)

    def _bind_requests(self) -> None:
        self._requests = self._counter("requests", "HTTP requests answered.", "route", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "Wall time of a request.", _SECONDS, "route"
        )
        self.inflight_requests = Gauge(
            "citemark_inflight_requests", "Requests not yet answered.", registry=self.registry
        )

    def _bind_judge(self) -> None:
        calls = self._counter("judge_calls", "HTTP calls to the judge.", "outcome")
        self._calls = {kind: calls.labels(kind.value) for kind in FailureKind}
        self._calls_ok = calls.labels("ok")
        retries = self._counter("judge_retries", "Calls and replies tried again.", "kind")
        self._retries = {kind: retries.labels(kind.value) for kind in FailureKind}
        tokens = self._counter("judge_tokens", "Tokens the judge counted.", "type")
        self._prompt, self._cached, self._completion = (
            tokens.labels(kind) for kind in ("prompt", "cached", "completion")
        )
        self._call_seconds = self._histogram(
            "judge_call_seconds", "Wall time of one call to the judge.", _SECONDS
        )

    def _bind_verdicts(self) -> None:
        verdicts = self._counter("verdicts", "Verdicts by where they came from.", "from")
        self._from_judge, self._from_cache, self._from_joined = (
            verdicts.labels(origin) for origin in ("judge", "cache", "joined")
        )
        errors = self._counter("cache_errors", "Failures of the verdict cache.", "operation")
        self._cache_errors: dict[CacheOperation, Counter] = {
            "read": errors.labels("read"),
            "write": errors.labels("write"),
            "value": errors.labels("value"),
        }
        self._cache_entries = Gauge(
            "citemark_cache_entries", "Verdicts kept in memory.", registry=self.registry
        )

    def _bind_servers(self) -> None:
        self.servers: list[JudgeServer] = []
        self._server_calls = self._counter(
            "judge_server_calls", "Attempts at one server.", "server", "outcome"
        )
        self._server_outcomes: dict[tuple[str, FailureKind | None], Counter] = {}
        self._ejections = self._counter(
            "judge_server_ejections", "Times that a server was given up.", "server"
        )
        self._server_gauges = {
            name: Gauge(f"citemark_judge_server_{name}", text, ["server"], registry=self.registry)
            for name, text in _SERVER_GAUGES.items()
        }
        self._probes = Gauge(
            "citemark_judge_probe",
            "1 where the probe at start-up saw the server do it, 0 where it saw that it does not.",
            ["server", "aspect"],
            registry=self.registry,
        )
        primes = self._counter("primes", "Prefixes sent ahead of their group.", "outcome")
        self._primes = {name: primes.labels(name) for name in _PRIMES}

    def _bind_rollouts(self) -> None:
        rollouts = self._counter("rollouts", "Rollouts answered.", "outcome")
        self._scored, self._refused, self._failed = (
            rollouts.labels(outcome) for outcome in ("scored", "refused", "failed")
        )
        failures = self._counter("failures", "Rollouts without a verdict.", "kind")
        self._failures = {kind: failures.labels(kind.value) for kind in FailureKind}
        refusals = self._counter("refusals", "Rollouts that were not judged.", "kind")
        self._refusals = {kind: refusals.labels(kind.value) for kind in RefusalKind}
        spans = self._counter("trace_spans", "Spans exported, or lost.", "outcome")
        self._spans_sent, self._spans_lost = (spans.labels(name) for name in ("exported", "lost"))
        stages = self._histogram("stage_seconds", "Time of one stage.", _SECONDS, "stage")
        self._stages = {name: stages.labels(name) for name in _STAGES}

    def _bind_ledger(self) -> None:
        told = "Rollouts kept by the ledger, posted again, or lost."
        kept = self._counter("ledger_rollouts", told, "outcome")
        self._kept, self._again, self._lost = map(kept.labels, ("kept", "again", "lost"))
        self._ledger_waiting = Gauge(
            "citemark_ledger_waiting", "Rollouts that wait to be kept.", registry=self.registry
        )
        self._ledger_trouble = Gauge(
            "citemark_ledger_trouble",
            "1 while the ledger's database cannot be used.",
            registry=self.registry,
        )

    def _bind_scores(self) -> None:
        self._reward = self._histogram(
            "reward", "Reward over verification_reward.", (*_SHARE, 1.1, 1.2)
        )
        self._rubric = self._histogram("rubric_reward", "Rubric part of the reward.", _SHARE)
        self._f1 = self._histogram("citation_f1", "Citation F1.", _SHARE)
        self._precision = self._histogram("citation_precision", "Citation precision.", _SHARE)
        self._recall = self._histogram("citation_recall", "Citation recall.", _SHARE)

    def _bind_rubrics(self) -> None:
        """The mean score of a rubric over a time is the increase of the one by the other's."""
        self._rubric_scores = self._counter(
            "rubric_scores", "Sum of scores, flipped where negative.", "rubric"
        )
        self._rubric_verdicts = self._counter("rubric_verdicts", "Verdicts scored.", "rubric")
        self._rubrics: dict[str, tuple[Counter, Counter]] = {}
        self.static_rubrics([_INSTANCE])

    def _bind_length(self) -> None:
        """Sums over scored rollouts, for the correlation of x, the length, and y, the reward.

        Those of x and y themselves, and the count, are in the two histograms.
        """
        self._characters = self._histogram(
            "answer_characters", "Length of a scored answer.", _CHARACTERS
        )
        self._products = self._counter(
            "reward_answer_characters", "Sum of reward times length of the answer."
        )
        self._reward_squares = self._counter("reward_squares", "Sum of squared rewards.")
        self._length_squares = self._counter(
            "answer_characters_squares", "Sum of squared lengths of answers."
        )

    def static_rubrics(self, titles: Iterable[str]) -> None:
        """Give each of these titles a series; all rubrics of rows share one, `instance`.

        The titles come from the files of the library, never from a caller.
        """
        for title in titles:
            self._rubrics[title] = (
                self._rubric_scores.labels(title),
                self._rubric_verdicts.labels(title),
            )

    def watch(self, admission: Admission) -> None:
        """Read what is in flight from its owner whenever someone asks."""
        gauges = {
            "inflight_rollouts": ("Rollouts accepted and unanswered.", admission.rollouts),
            "open_streams": ("Open NDJSON streams.", admission.streams),
            "buffered_bytes": ("Request bodies held in memory.", admission.buffered),
        }
        for name, (text, quota) in gauges.items():
            gauge = Gauge(f"citemark_{name}", text, registry=self.registry)
            gauge.set_function(partial(getattr, quota, "held"))
        draining = Gauge("citemark_draining", "1 while stopping.", registry=self.registry)
        draining.set_function(lambda: float(admission.draining))

    def request(self, *, route: str, status: int, seconds: float) -> None:
        """One request was answered; `route` is a route's template, never a caller's path."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def judge_call(self, *, outcome: FailureKind | None, seconds: float, usage: Usage) -> None:
        """Ignore."""
        (self._calls_ok if outcome is None else self._calls[outcome]).inc()
        self._call_seconds.observe(seconds)
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._completion.inc(usage.completion_tokens)

    def judge_server(self, server: JudgeServer) -> None:
        """A server was set up to send calls to; it may be asked how it is at any time."""
        self.servers.append(server)
        self._ejections.labels(server.name)
        for outcome in (None, *FailureKind):
            told = "ok" if outcome is None else outcome.value
            self._server_outcomes[server.name, outcome] = self._server_calls.labels(
                server.name, told
            )
        for name, gauge in self._server_gauges.items():
            gauge.labels(server.name).set_function(partial(getattr, server, name))

    def server_call(self, server: str, outcome: FailureKind | None) -> None:
        """One attempt at the server of that name ended; `outcome` as for `judge_call`."""
        self._server_outcomes[server, outcome].inc()

    def server_ejected(self, server: str) -> None:
        """The server of that name gets no calls until it answers again."""
        self._ejections.labels(server).inc()

    def judge_probe(self, server: str, aspect: ProbeAspect, *, works: bool) -> None:
        """The probe at start-up saw the server of that name do this, or not."""
        self._probes.labels(server, aspect).set(works)

    def prime(self, outcome: PrimeOutcome) -> None:
        """The prime of a group ended."""
        self._primes[outcome].inc()

    def judge_retry(self, kind: FailureKind) -> None:
        """A call or a reply is about to be tried again because of `kind`."""
        self._retries[kind].inc()

    def verdicts(self, *, judge: int, cache: int, joined: int) -> None:
        """The verdicts of one task: judged for it, kept before, or judged for another caller."""
        if judge:
            self._from_judge.inc(judge)
        if cache:
            self._from_cache.inc(cache)
        if joined:
            self._from_joined.inc(joined)

    def cache_error(self, operation: CacheOperation) -> None:
        """The verdict cache failed; the verdict counts as unknown."""
        self._cache_errors[operation].inc()

    def cache_size(self, entries: int) -> None:
        """So many verdicts are in memory now."""
        self._cache_entries.set(entries)

    def ledger(self, *, written: int, again: int, lost: int) -> None:
        """So many rollouts were kept by the ledger, so many were there already, and so many never
        will be."""
        self._kept.inc(written)
        self._again.inc(again)
        self._lost.inc(lost)

    def ledger_queue(self, queue: LedgerQueue) -> None:
        """A ledger was set up; it may be asked how it is at any time, from the event loop."""
        self._ledger_waiting.set_function(lambda: queue.waiting)
        self._ledger_trouble.set_function(lambda: queue.troubled)

    def spans(self, *, sent: int, lost: int) -> None:
        """So many spans were exported, and so many never will be; from any thread."""
        self._spans_sent.inc(sent)
        self._spans_lost.inc(lost)

    def stage(self, name: Stage, seconds: float) -> None:
        """One stage of one rollout took `seconds`; `queue` is one call's wait for its slot."""
        self._stages[name].observe(seconds)

    def rollout(self, result: ScoreResult, *, answer_characters: int) -> None:
        """One rollout is done, whatever came of it; its answer is 0 long where it has not one."""
        if result.failure is not None:
            self._failed.inc()
            self._failures[result.failure.kind].inc()
        elif result.refusal is not None:
            self._refused.inc()
            self._refusals[result.refusal.kind].inc()
        else:
            self._scored.inc()
            self._observe_scores(result, answer_characters)

    def _observe_scores(self, result: ScoreResult, answer_characters: int) -> None:
        if result.reward is not None:
            reward = result.reward / result.knobs.verification_reward
            self._reward.observe(reward)
            self._observe_length(reward, answer_characters)
        self._observe_rubrics(result.rubrics)
        if result.rubric_reward is not None:
            self._rubric.observe(result.rubric_reward)
        if result.citation is not None:
            self._observe_citation(result.citation)

    def _observe_length(self, reward: float, characters: int) -> None:
        self._characters.observe(characters)
        self._products.inc(reward * characters)
        self._reward_squares.inc(reward * reward)
        self._length_squares.inc(characters * characters)

    def _observe_rubrics(self, rubrics: Iterable[RubricScore]) -> None:
        total, count = 0.0, 0
        for rubric in rubrics:
            if rubric.source is Source.STATIC:
                self._observe_rubric(rubric.title, rubric.score, 1)
            else:
                total, count = total + rubric.score, count + 1
        self._observe_rubric(_INSTANCE, total, count)

    def _observe_rubric(self, title: str, total: float, count: int) -> None:
        if title not in self._rubrics:
            self.static_rubrics([title])
        scores, verdicts = self._rubrics[title]
        scores.inc(total)
        verdicts.inc(count)

    def _observe_citation(self, citation: CitationScore) -> None:
        self._f1.observe(citation.f1)
        self._precision.observe(citation.precision)
        self._recall.observe(citation.recall)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything as text, and its content type, in the format that `accept` prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
