"""The ledger's tables, and scored rollouts as their rows. Pure.

A rollout is a row of short columns to filter and sort by, and a compressed `detail` with all the
rest. Samples of a prompt share a row of `prompts`. Curves are read from `steps` and `groups`,
which every batch updates, so that no page has to aggregate rollouts. The first migration makes the
tables as they stand here.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from citemark_schemas import Rollout
from citemark_schemas.rollout import conversation_key
from citemark_service.parsing.fingerprint import frame_texts
from citemark_service.score.rollout import ScoredRollout

metadata = sa.MetaData()

# SQLite increments only INTEGER keys.
_SERIAL: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _columns(kind: Any, *names: str, nullable: bool = False) -> Iterator[sa.Column[Any]]:
    for name in names:
        yield sa.Column(name, kind, nullable=nullable)


prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("sources", sa.LargeBinary, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Index("prompts_by_age", "last_at"),
)
"""`sources`: compressed JSON of `conversation`, `tool_output` and `snippets`.

`id`: see `prompt_id`."""

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("seq", _SERIAL, primary_key=True, autoincrement=True),
    *_columns(sa.String(256), "run"),
    *_columns(sa.BigInteger, "step"),
    *_columns(sa.String(512), "group_key", "sample_id"),
    sa.Column("once", sa.LargeBinary, unique=True),
    *_columns(sa.LargeBinary, "prompt_id"),
    *_columns(sa.String(64), "rollout_hash"),
    *_columns(sa.Float, "at", "scale", "format_bonus", "latency_s"),
    *_columns(sa.Float, "reward", "rubric_reward", "citation_f1", nullable=True),
    *_columns(sa.Integer, "fabricated", "addressed", "chars"),
    *_columns(sa.String(32), "refusal", "failure", nullable=True),
    *_columns(sa.Boolean, "cached"),
    *_columns(sa.String(256), "model"),
    *_columns(sa.LargeBinary, "detail"),  # last: columns behind a large value are slow to read
    sa.Index("rollouts_by_place", "run", "step", "group_key"),
    sa.Index("rollouts_by_step", "run", "step", "seq"),
    sa.Index("rollouts_by_age", "at"),
    sa.Index("rollouts_by_citation", "run", "citation_f1"),
)
"""`reward` is divided by `scale`, the verification reward, so that runs compare; `at` is Unix
time in seconds. `once` is equal for a sample and its re-post, see `rollout_row`, or None."""

# Partial indexes: few rollouts are in them, so the others cost nothing to index.
for _name, _few in (
    ("rollouts_failed", rollouts.c.failure.is_not(None)),
    ("rollouts_addressed", rollouts.c.addressed > 0),
):
    sa.Index(_name, rollouts.c.run, rollouts.c.seq, sqlite_where=_few, postgresql_where=_few)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("run", sa.String(256), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    *_columns(sa.Integer, "rollouts", "rewarded", "refused", "failed", "judged", "cited"),
    *_columns(sa.Float, "reward_sum", "reward_squares"),
    *_columns(sa.Float, "reward_min", "reward_max", nullable=True),
    *_columns(sa.Float, "rubric_sum", "f1_sum", "format_sum"),
    *_columns(sa.Integer, "fabricated", "addressed"),
    *_columns(sa.Float, "chars_sum", "chars_squares", "chars_reward", "first_at", "last_at"),
)
"""Counts and sums of one step of one run. `judged` counts rubric rewards, `cited` citation F1s;
`chars_squares` and `chars_reward` are sums over rollouts with a reward, for the correlation of
reward and length."""

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("run", sa.String(256), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("group_key", sa.String(512), primary_key=True),
    *_columns(sa.Integer, "rollouts", "rewarded", "failed"),
    *_columns(sa.Float, "reward_sum", "last_at"),
    *_columns(sa.Float, "reward_min", "reward_max", nullable=True),
    sa.Index("groups_by_age", "last_at"),
)
"""Counts and sums over the samples of one prompt in one step."""

sa.Index("groups_by_spread", groups.c.run, groups.c.reward_max - groups.c.reward_min)


Row = dict[str, Any]

NO_RUN: Final = ""
"""Stored as `run` of a rollout without one; key columns cannot be NULL."""
NO_STEP: Final = -1
"""Stored as `step` of a rollout without one."""

# Columns of `steps` and `groups` that keep the minimum or the maximum; all others are summed.
LOW: Final = frozenset({"reward_min", "first_at"})
HIGH: Final = frozenset({"reward_max", "last_at"})

_HASH_BYTES: Final = 16
_FRAME: Final = 16_384  # characters that a rollout and its result take besides their texts
# A run's and a group's name share an index row, which PostgreSQL limits to about 2700 bytes.
_NAME_BYTES: Final = 1_024
# The fastest level compresses details to a fifth; a higher level saves only a tenth more.
_LEVEL: Final = 1
_PROMPT_FIELDS: Final = {"question", "conversation", "tool_output", "snippets"}


def characters_of(entry: ScoredRollout) -> int:
    """About how much memory an entry takes, in characters."""
    replies = sum(len(reply.text) for reply in entry.replies)
    return _FRAME + entry.rollout.characters + replies


def pack(value: bytes) -> bytes:
    return zlib.compress(value, _LEVEL)


def unpack(value: bytes) -> Any:
    """The JSON value that `pack` compressed."""
    return json.loads(zlib.decompress(value))


def prompt_id(rollout: Rollout) -> bytes:
    """A hash of conversation, question and sources, 16 bytes."""
    snippets = rollout.snippets
    texts = [*conversation_key(rollout.conversation or ()), rollout.question, rollout.tool_output]
    texts.append(None if snippets is None else "")
    for snippet in snippets or ():
        texts += snippet.key
    return _hash(*texts)


def prompt_row(entry: ScoredRollout, key: bytes) -> Row:
    # `json.dumps` escapes to ASCII, so even lone surrogates can be encoded.
    sources = json.dumps(entry.rollout.model_dump(include=_PROMPT_FIELDS - {"question"}))
    return {
        "id": key,
        "question": _storable(entry.rollout.question),
        "sources": pack(sources.encode()),
        "last_at": entry.at,
    }


def rollout_row(entry: ScoredRollout, key: bytes) -> Row:
    """A row of `rollouts`; `key` is the prompt's id. Raises `ValueError` for lone surrogates."""
    result = entry.result
    scale = result.knobs.verification_reward
    rollout = entry.rollout.model_dump_json(exclude=_PROMPT_FIELDS, exclude_unset=True)
    replies = [[reply.question, reply.text] for reply in entry.replies]
    detail = b'{"rollout":%b,"result":%b,"replies":%b}' % (
        rollout.encode(),
        result.model_dump_json().encode(),
        json.dumps(replies).encode(),
    )
    return {
        "run": NO_RUN if entry.run is None else place_name(entry.run),
        "step": NO_STEP if entry.step is None else entry.step,
        "group_key": place_name(entry.rollout.group or key.hex()),
        "sample_id": _storable(result.id),
        "once": _sample_mark(entry),
        "prompt_id": key,
        "rollout_hash": result.rollout_hash,
        "at": entry.at,
        "reward": None if result.reward is None else result.reward / scale,
        "scale": scale,
        "rubric_reward": result.rubric_reward,
        "citation_f1": None if result.citation is None else result.citation.f1,
        "format_bonus": result.format.bonus,
        "fabricated": 0 if result.citation is None else result.citation.fabricated,
        "addressed": len(result.format.judge_addressed),
        "chars": len(entry.rollout.response),
        "refusal": None if result.refusal is None else result.refusal.kind.value,
        "failure": None if result.failure is None else result.failure.kind.value,
        "cached": result.cached,
        "model": _storable(result.judge.model),
        "latency_s": result.judge.latency_s,
        "detail": pack(detail),
    }


def place_name(text: str) -> str:
    """A run's or group's name as stored: over 1024 bytes, the rest is replaced by its hash."""
    name = _storable(text)
    if len(name.encode()) <= _NAME_BYTES:
        return name
    return name.encode()[: _NAME_BYTES // 2].decode(errors="ignore") + _hash(name).hex()


def _sample_mark(entry: ScoredRollout) -> bytes:
    """A hash that is equal for a sample and its re-post, so that it is stored once."""
    # A sample whose judge failed, and that is re-posted and gets a reward, is stored twice.
    failed = "failed" if entry.result.failure else "done"
    knobs = entry.result.knobs.model_dump_json()
    # Without run, step and id two equal samples may be different ones. The time tells them apart,
    # and is the same if a batch is written again after a commit whose outcome is unknown.
    known = entry.run is not None and entry.step is not None and entry.rollout.id is not None
    when = None if known else repr(entry.at)
    sample = (entry.result.id, entry.result.rollout_hash, str(entry.position), knobs, failed)
    return _hash(entry.run, str(entry.step), when, *sample)


def _hash(*texts: str | None) -> bytes:
    return hashlib.blake2b(frame_texts(*texts), digest_size=_HASH_BYTES).digest()


def _storable(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded, and NUL, which PostgreSQL refuses."""
    return text.encode(errors="replace").decode().replace("\0", "�")


def _total(values: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(values), 0)


_REWARD: Final = rollouts.c.reward
_CHARS: Final = sa.cast(rollouts.c.chars, sa.Float)

SUMS: Final[Mapping[str, sa.ColumnElement[Any]]] = {
    "rollouts": sa.func.count(),
    "rewarded": sa.func.count(_REWARD),
    "failed": sa.func.count(rollouts.c.failure),
    "refused": sa.func.count(rollouts.c.refusal),
    "judged": sa.func.count(rollouts.c.rubric_reward),
    "cited": sa.func.count(rollouts.c.citation_f1),
    "reward_sum": _total(_REWARD),
    "reward_squares": _total(_REWARD * _REWARD),
    "reward_min": sa.func.min(_REWARD),
    "reward_max": sa.func.max(_REWARD),
    "rubric_sum": _total(rollouts.c.rubric_reward),
    "f1_sum": _total(rollouts.c.citation_f1),
    "format_sum": _total(rollouts.c.format_bonus),
    "fabricated": _total(rollouts.c.fabricated),
    # Rollouts, not pieces of text as in `rollouts`.
    "addressed": sa.func.count(sa.func.nullif(rollouts.c.addressed, 0)),
    "chars_sum": _total(_CHARS),
    "chars_squares": _total(sa.case((_REWARD.is_not(None), _CHARS * _CHARS))),
    "chars_reward": _total(_REWARD * _CHARS),
    "first_at": sa.func.min(rollouts.c.at),
    "last_at": sa.func.max(rollouts.c.at),
}
"""The columns of `steps` and `groups` over rows of `rollouts`, but for the key."""


class KeptRubric(msgspec.Struct, frozen=True):
    """The fields of a stored `RubricScore` that pages use."""

    title: str
    polarity: str
    source: str
    score: float
    weight: float


class KeptClaim(msgspec.Struct, frozen=True):
    """The fields of a stored `ClaimScore` that pages use."""

    text: str
    support: float | None = None
    fabricated: tuple[str, ...] = ()


class KeptVerdicts(msgspec.Struct, frozen=True):
    """The part of a detail that is decoded for many rollouts at once; the rest is skipped."""

    reward_std: float | None = None  # as answered, not divided by the scale
    rubrics: tuple[KeptRubric, ...] = ()
    claims: tuple[KeptClaim, ...] = ()


class _Detail(msgspec.Struct):
    result: KeptVerdicts


_DETAIL: Final = msgspec.json.Decoder(_Detail)


def read_verdicts(detail: bytes) -> KeptVerdicts:
    """Decode the verdicts of a detail. Raises `ValueError` or `zlib.error` if it is damaged."""
    return _DETAIL.decode(zlib.decompress(detail)).result
