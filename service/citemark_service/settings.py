"""Settings: the only module that reads the environment.

One library reads it too, where traces are on: OpenTelemetry's SDK takes a collector's headers and
certificates and the resource's name from its standard `OTEL_*` variables, which belong to the
deployment and may hold secrets that no setting of ours should repeat.

Every field is a variable `CITEMARK_<FIELD>` and, through the command line, a flag. The reward's
knobs are fields too: they are the defaults that a request may override.
"""

import difflib
import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from citemark_schemas import Knobs
from citemark_schemas.cells import split_list
from citemark_service.errors import SettingsError

_PREFIX = "CITEMARK_"
_NEAR = 0.7  # PROT is .75 from PORT, FOO .29
_CLIENTS = ("URL", "DEADLINE_S", "RUN", "KNOBS")
"""Under the same prefix, but read by `citemark_grpo.settings`: both may start from one shell."""
_MIB = 1024 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")


OptionalField = Literal[
    "logprobs", "temperature", "seed", "max_completion_tokens", "chat_template_kwargs"
]
"""What a request to a judge can do without where its server refuses it."""


class JudgeEntry(NamedTuple):
    """A judge that `judge` can name."""

    build: str
    """`module:function`, called as `function(settings, metrics=…, tracer=…)`."""
    served: bool = False
    """Whether it asks the servers at `server_urls`, which are probed at the start."""
    rollouts_at_once: int = 16
    """How many rollouts a command gives it at once."""


JUDGES: Final[Mapping[str, JudgeEntry]] = {
    "embedded": JudgeEntry("citemark_service.judges.embedded.judge:build"),
    # It judges two calls at once, and waiting for it counts against the deadline.
    "smollm2": JudgeEntry("citemark_service.judges.smollm2:build", rollouts_at_once=2),
    "vllm": JudgeEntry("citemark_service.judges.served:build_vllm", served=True),
    "openai": JudgeEntry("citemark_service.judges.served:build_hosted", served=True),
}
"""Every judge; a new one is a module and a line here."""


def _known_judge(name: str) -> str:
    if name not in JUDGES:
        raise ValueError(f"{name!r} is no judge; known are {', '.join(JUDGES)}")
    return name


def _check_token(token: SecretStr) -> SecretStr:
    """A token as it is: some clients can carry it in their URL only, where most else is escaped."""
    if not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError(
            "must be 16 or more of letters, digits, '-', '.', '_' and '~': openssl rand -hex 32"
        )
    return token


def _check_networks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        ip_network(name)  # raises `ValueError`, which names it
    return names


class Settings(BaseSettings, Knobs):
    """One frozen table; defaults are the recommended run."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes any free one."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_format: Literal["text", "json"] = "text"
    """`json` is one object a line."""
    log_rollouts: bool = False
    """Log every rollout with the beginning of its question and response; else no line has any."""
    otlp_endpoint: str | None = Field(None, repr=False)
    """Where traces go over OTLP/HTTP, such as `http://collector:4318`; absent, nothing is traced.
    `OTEL_EXPORTER_OTLP_ENDPOINT` alone does not switch them on: it may be meant for others."""
    otlp_sample_ratio: float = Field(1.0, ge=0, le=1)
    """Share of the requests that are traced; one that comes with a trace is as its caller says."""
    api_token: Annotated[SecretStr, AfterValidator(_check_token)] | None = None
    """What callers must send; open to everyone where absent."""
    no_token: bool = False
    """Serve without a token on a `host` that others can reach, which is refused otherwise."""
    max_wrong_tokens: int = Field(30, ge=1)
    """Of one address before its tokens are not looked at for a minute, unless it sent the right one
    within the hour."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)] = ()
    """Names by which browsers may reach the service besides addresses, `localhost` and `host`, so
    that no other site can take its place: a JSON list, or commas between; `*` is any. Absent, it
    is any where a token is needed and `host` is no loopback address."""
    page_login_s: int = Field(43_200, ge=1)
    """How long a browser that was told the token may open the pages."""

    judge: Annotated[str, AfterValidator(_known_judge)] = "embedded"
    """`embedded`, `smollm2`, `vllm` (any OpenAI-compatible server) or `openai` (through the
    vendor's SDK)."""
    judge_url: str = "http://127.0.0.1:8001/v1"
    """Where `vllm` and `openai` are served."""
    judge_urls: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)] = ()
    """Several servers of one model in place of `judge_url`: a JSON list, or commas between."""
    judge_model: str = "Qwen/Qwen3.5-35B-A3B-FP8"
    """The name that it is served under."""
    judge_api_key: SecretStr | None = None
    """What its server is sent as the bearer."""
    trust_env: bool = False
    """Let calls, with their key or token, take the environment's proxies (`http_proxy`), for which
    clusters have other uses; the client reads this as well."""
    judge_asks: Literal["write", "read"] = "write"
    """`read` asks `vllm` servers that have `/v1/systemone` (vLLM from 0.32, SGLang from 0.5.23, for
    some models) for the probability of each level, a question for each criterion and each digit of
    a claim or sentence; nothing is written, quotes neither. Without the route calls fail."""
    judge_label_mass: float = Field(0.5, ge=0, le=1)
    """Least probability that a model has on the levels of what is read, beside all else that it
    might say; below it the verdict is a failure."""
    judge_constraint: Literal["auto", "structured_outputs", "json_schema"] = "auto"
    """How the grammar is sent; `auto` is `structured_outputs` for `vllm`, else `json_schema`."""
    judge_top_logprobs: int = Field(8, ge=0, le=20)
    """Alternatives to ask for beside each token, by which verdicts are weighted: 8 include every
    digit, 0 asks for none. What a server refuses of this and the next is left out by itself."""
    judge_omits: Annotated[frozenset[OptionalField], NoDecode, BeforeValidator(split_list)] = (
        frozenset()
    )
    """Optional fields that are never sent, for servers that refuse them without naming them."""
    judge_concurrency: int = Field(64, ge=1)
    """Calls in flight to each server of the judge."""
    judge_queue: int = Field(32_768, ge=1)
    """Calls that wait for each server; beyond it they fail as overloaded, to be tried again."""
    judge_priority_scheduling: bool = False
    """Send each call's priority, to servers started with `--scheduling-policy priority`."""
    prime_prefix: bool = False
    """Send what a group's prompts share once ahead of them; it pays on servers that keep only
    the end of each prompt in their prefix cache."""
    prime_wait_s: float = Field(5.0, gt=0)
    """How long a group waits for that."""
    judge_timeout_s: float = Field(60.0, gt=0)
    """For one HTTP call."""
    judge_deadline_s: float = Field(180.0, gt=0)
    """For one task with all its retries."""
    judge_attempts: int = Field(4, ge=1)
    """HTTP attempts per call, the first included."""
    probe_at_start: bool = True
    """Once it can be reached, see whether each server of `vllm` or `openai` keeps the grammar,
    gives logprobs and caches prefixes; the findings go to the log and to the metrics. It costs
    three calls a server, of about 4,400 prompt tokens and 20 completion tokens each."""
    criteria_per_call: int = Field(12, ge=1)
    """1 is the careful mode: one call per criterion."""
    evidence_quotes: bool = True
    """Ask for a quote before each criterion's verdict; false saves about 25 tokens each. There are
    none where verdicts are read."""
    max_claims: int = Field(40, ge=1)
    """Claims, and as many sentences, judged per rollout; the rest count as unsupported."""
    judge_linger_s: float = Field(3.0, ge=0)
    """How long a judgement goes on for a client that left, so that its re-post joins it."""
    verdict_cache: str = Field("memory://", repr=False)
    """Where verdicts are kept: `off`, `memory://`, `sqlite:///PATH` or `redis://HOST`, with
    bounds as parameters (see `verdicts.caching`). Who can write there decides rewards."""
    nonce_secret: SecretStr | None = None
    """Shared by replicas so that they fence a group alike; random per process where absent."""

    ledger: str = Field("sqlite:///citemark.db", repr=False)
    """Where every scored rollout is kept: `off`, `sqlite:///PATH` (four slashes for an absolute
    path) or `postgresql://HOST/DATABASE`."""
    ledger_max_mib: int = Field(10_240, ge=1)
    """What it may take before the oldest rollouts go; a step's sums are kept for good."""
    ledger_max_days: float | None = Field(None, gt=0)
    """Age after which rollouts go; None keeps them."""
    ledger_wait_s: float = Field(5.0, gt=0)
    """How long a reward waits until it is kept; in ordinary times a few milliseconds."""

    ignored_rubric_keys: Annotated[frozenset[str], NoDecode, BeforeValidator(split_list)] = (
        frozenset()
    )
    """Keys of a row's rubrics, and columns beside them, that are knowingly not read although they
    might be a weight, a sign or a nesting: a JSON list, or commas between."""
    fallback_reward: float = Field(0.0, allow_inf_nan=False)
    """What a trainer that can neither mask nor retry is told for a rollout that nobody judged,
    where no other rollout of its prompt has a reward; otherwise it is their mean."""
    test_program_route: bool = False
    """Serve `/test_program`, the protocol of open-instruct's code verifier."""

    rubrics_dir: Path | None = None
    """Folder with further static sets, one TOML file each."""

    trusted_proxies: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split_list), AfterValidator(_check_networks)
    ] = ()
    """Addresses or networks whose `X-Forwarded-For` and `-Proto` are believed, and which may have
    more connections than other peers: a JSON list, or commas between."""
    max_connections: int = Field(8192, ge=1)
    """Open at once; fewer where the process may not open as many files. Beyond it those are closed
    that wait for a request, the longest wait first."""
    max_peer_connections: int = Field(4096, ge=1)
    """Of one address that is no trusted proxy."""
    max_header_bytes: int = Field(64 * 1024, ge=1024)
    """Of one request's line and headers; beyond it 431."""
    header_timeout_s: float = Field(20.0, gt=0)
    """From the opening of a connection, or the first byte of a later request, to the end of the
    headers."""
    keep_alive_s: int = Field(75, ge=1)
    """Silence between two requests after which a connection is closed. Longer than clients keep
    one, so that they close it: a server that closes first races with the next request."""
    max_body_bytes: int = Field(64 * _MIB, ge=1024)
    """Of one body that is no stream; of gzip or deflate, what comes out. Beyond it 413."""
    max_decoded_bytes: int = Field(64 * _MIB, ge=1024)
    """What a body's values may take in memory, by an estimate before they are decoded; ten times
    its size, or 10 MiB where that is more, are the bound of a smaller body."""
    max_rollout_bytes: int = Field(4 * _MIB, ge=1024)
    """For one stream line, and for one rollout sent alone."""
    max_items: int = Field(1024, ge=1)
    """Rollouts in one batch."""
    max_inflight: int = Field(2048, ge=1)
    """Rollouts accepted and not yet answered; beyond it 429."""
    max_buffered_bytes: int = Field(1024 * _MIB, ge=1024)
    """Request bodies held in memory, all requests together; beyond it 429."""
    max_streams: int = Field(16, ge=1)
    """Open `/v1/score/stream` requests; beyond it 429, and for a caller that has as many open as
    are left for all others."""
    stream_window: int = Field(256, ge=1)
    """Lines of one stream that are judged at once; reading pauses while it is full."""
    body_timeout_s: float = Field(30.0, gt=0)
    """Silence after which an unfinished request body is given up with 408."""
    body_deadline_s: float = Field(120.0, gt=0)
    """For one whole request body, however steadily it comes; streams have `stream_idle_s`."""
    stream_idle_s: float = Field(600.0, gt=0)
    """Time without a line, or refusal to read, after which an open stream is ended."""
    stop_grace_s: float = Field(30.0, ge=0)
    """How long a stopping service waits for what is in flight."""

    @property
    def server_urls(self) -> tuple[str, ...]:
        """The servers of a judge that has some."""
        return self.judge_urls or (self.judge_url,)


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; `overrides` (the flags that were given) win.

    Raises:
        SettingsError: a `CITEMARK_*` variable is unknown or a value is out of range.
    """
    known = [*(name.upper() for name in Settings.model_fields), *_CLIENTS]
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) in known:
            continue
        # Without the prefix, which would make any two names look alike.
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), known, n=1, cutoff=_NEAR)
        hint = f"; did you mean {_PREFIX}{near[0]}?" if near else ""
        raise SettingsError(f"{variable} is not a setting{hint}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError(f"settings: {problems}") from error
