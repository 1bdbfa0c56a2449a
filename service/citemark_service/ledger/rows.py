"""Scored rollouts as rows of the ledger's tables, and sums over such rows. Pure."""

import hashlib
import json
import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Table

from citemark_schemas import Rollout
from citemark_service.parsing.fingerprint import frame_texts
from citemark_service.score.rollout import ScoredRollout

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
_PROMPT_FIELDS: Final = {"question", "tool_output", "snippets"}


def characters_of(entry: ScoredRollout) -> int:
    """About how much memory an entry takes, in characters."""
    rollout = entry.rollout
    structured = sum(len(snippet.text) for snippet in rollout.snippets or ())
    replies = sum(len(reply.text) for reply in entry.replies)
    written = len(rollout.response) + len(rollout.tool_output or "")
    return _FRAME + written + structured + replies


def pack(value: bytes) -> bytes:
    return zlib.compress(value, _LEVEL)


def unpack(value: bytes) -> Any:
    """The JSON value that `pack` compressed."""
    return json.loads(zlib.decompress(value))


def prompt_id(rollout: Rollout) -> bytes:
    """A hash of question and sources, 16 bytes."""
    snippets = rollout.snippets
    texts = [rollout.question, rollout.tool_output, None if snippets is None else ""]
    for snippet in snippets or ():
        texts += [snippet.id, snippet.text, snippet.paper_id]
    return _hash(*texts)


def prompt_row(entry: ScoredRollout, key: bytes) -> Row:
    # `json.dumps` escapes to ASCII, so even lone surrogates can be encoded.
    sources = json.dumps(entry.rollout.model_dump(include={"tool_output", "snippets"}))
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


def merge_values(name: str, old: float | None, new: float | None) -> float | None:
    """The column `name` of `steps` or `groups` after both values; None is no value yet."""
    if old is None or new is None:
        return new if old is None else old
    if name in LOW:
        return min(old, new)
    return max(old, new) if name in HIGH else old + new


def sum_rows(rows: Iterable[Row], table: Table) -> list[Row]:
    """Sum rows of `rollouts` into rows of `table` (`steps` or `groups`), one per primary key."""
    key, names = table.primary_key.columns.keys(), table.columns.keys()
    sums: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        place = tuple(row[name] for name in key)
        old, new = sums.get(place), _to_sums(row)
        sums[place] = {
            name: new[name]
            if old is None or name in key
            else merge_values(name, old[name], new[name])
            for name in names
        }
    return list(sums.values())


def _to_sums(row: Row) -> Row:
    """The columns of `steps` and `groups` for a single row of `rollouts`."""
    reward, chars = row["reward"], float(row["chars"])
    known = reward or 0.0
    return {
        "run": row["run"],
        "step": row["step"],
        "group_key": row["group_key"],
        "rollouts": 1,
        "rewarded": int(reward is not None),
        "failed": int(row["failure"] is not None),
        "refused": int(row["refusal"] is not None),
        "judged": int(row["rubric_reward"] is not None),
        "cited": int(row["citation_f1"] is not None),
        "reward_sum": known,
        "reward_squares": known**2,
        "reward_min": reward,
        "reward_max": reward,
        "rubric_sum": row["rubric_reward"] or 0.0,
        "f1_sum": row["citation_f1"] or 0.0,
        "format_sum": row["format_bonus"],
        "fabricated": row["fabricated"],
        "addressed": int(row["addressed"] > 0),  # rollouts, not pieces of text as in `rollouts`
        "chars_sum": chars,
        "chars_squares": 0.0 if reward is None else chars**2,
        "chars_reward": known * chars,
        "first_at": row["at"],
        "last_at": row["at"],
    }


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

    rubrics: tuple[KeptRubric, ...] = ()
    claims: tuple[KeptClaim, ...] = ()


class _Detail(msgspec.Struct):
    result: KeptVerdicts


_DETAIL: Final = msgspec.json.Decoder(_Detail)


def read_verdicts(detail: bytes) -> KeptVerdicts:
    """Decode the verdicts of a detail. Raises `ValueError` or `zlib.error` if it is damaged."""
    return _DETAIL.decode(zlib.decompress(detail)).result
