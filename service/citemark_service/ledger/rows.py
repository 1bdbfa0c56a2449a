"""Scored rollouts as the ledger's rows, their sums, and what is read back of them. Pure."""

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
"""`run` of a rollout whose caller named none."""
NO_STEP: Final = -1
"""`step` of such a rollout."""

LOW: Final = frozenset({"reward_min", "first_at"})
"""Columns of `steps` and `groups` that keep the lesser value."""
HIGH: Final = frozenset({"reward_max", "last_at"})
"""Those that keep the greater value; all others are summed."""

_HASH_BYTES: Final = 16
_FRAME: Final = 16_384
"""Of a rollout beside its texts, with its result."""
_NAME_BYTES: Final = 1_024
"""Of a run's and of a group's name together, less than PostgreSQL takes in an index."""
# The fastest level: the details are a fifth of their size, and a higher one gains a tenth.
_LEVEL: Final = 1
_PROMPT_FIELDS: Final = {"question", "tool_output", "snippets"}


def characters_of(entry: ScoredRollout) -> int:
    """About what an entry holds of memory."""
    rollout = entry.rollout
    structured = sum(len(snippet.text) for snippet in rollout.snippets or ())
    replies = sum(len(reply.text) for reply in entry.replies)
    written = len(rollout.response) + len(rollout.tool_output or "")
    return _FRAME + written + structured + replies


def pack(value: bytes) -> bytes:
    return zlib.compress(value, _LEVEL)


def unpack(value: bytes) -> Any:
    """The JSON value that was stored by `pack`."""
    return json.loads(zlib.decompress(value))


def prompt_id(rollout: Rollout) -> bytes:
    """What two rollouts have in common where question and sources are the same: 16 bytes."""
    snippets = rollout.snippets
    texts = [rollout.question, rollout.tool_output, None if snippets is None else ""]
    for snippet in snippets or ():
        texts += [snippet.id, snippet.text, snippet.paper_id]
    return _hash(*texts)


def prompt_row(entry: ScoredRollout, key: bytes) -> Row:
    # In ASCII, which any text has a spelling in.
    sources = json.dumps(entry.rollout.model_dump(include={"tool_output", "snippets"}))
    return {
        "id": key,
        "question": _storable(entry.rollout.question),
        "sources": pack(sources.encode()),
        "last_at": entry.at,
    }


def rollout_row(entry: ScoredRollout, key: bytes) -> Row:
    """A row of `rollouts`; `key` is its prompt's id.

    Raises:
        ValueError: the response is no Unicode text.
    """
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
    """A run's or group's name as it is stored: one that an index could not take ends in a hash."""
    name = _storable(text)
    if len(name.encode()) <= _NAME_BYTES:
        return name
    return name.encode()[: _NAME_BYTES // 2].decode(errors="ignore") + _hash(name).hex()


def _sample_mark(entry: ScoredRollout) -> bytes:
    """Equal for a sample and its own re-post; where step and id do not say which sample it is,
    only for an entry that is written again because nobody knows whether it was written.

    A sample that failed and came again with a reward is kept twice.
    """
    failed = "failed" if entry.result.failure else "done"
    knobs = entry.result.knobs.model_dump_json()
    known = entry.run is not None and entry.step is not None and entry.rollout.id is not None
    when = None if known else repr(entry.at)
    sample = (entry.result.id, entry.result.rollout_hash, str(entry.position), knobs, failed)
    return _hash(entry.run, str(entry.step), when, *sample)


def _hash(*texts: str | None) -> bytes:
    return hashlib.blake2b(frame_texts(*texts), digest_size=_HASH_BYTES).digest()


def _storable(text: str) -> str:
    """Lone surrogates have no bytes, and PostgreSQL takes no NUL in a text."""
    return text.encode(errors="replace").decode().replace("\0", "�")


def merge_values(name: str, old: float | None, new: float | None) -> float | None:
    """A column of sums after both values; None is no value yet."""
    if old is None or new is None:
        return new if old is None else old
    if name in LOW:
        return min(old, new)
    return max(old, new) if name in HIGH else old + new


def sum_rows(rows: Iterable[Row], table: Table) -> list[Row]:
    """What these rows of `rollouts` add to `steps` or `groups`, one row for each key of those."""
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
    """A row of `rollouts` as sums over it alone."""
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
        "addressed": int(row["addressed"] > 0),
        "chars_sum": chars,
        "chars_squares": 0.0 if reward is None else chars**2,
        "chars_reward": known * chars,
        "first_at": row["at"],
        "last_at": row["at"],
    }


class KeptRubric(msgspec.Struct, frozen=True):
    """What is kept of one criterion's part in a reward; see `RubricScore`."""

    title: str
    polarity: str
    source: str
    score: float
    weight: float


class KeptClaim(msgspec.Struct, frozen=True):
    """What is kept of one claim; see `ClaimScore`."""

    text: str
    support: float | None = None
    fabricated: tuple[str, ...] = ()


class KeptVerdicts(msgspec.Struct, frozen=True):
    """The few fields of a kept detail that compare many rollouts, without parsing the rest."""

    rubrics: tuple[KeptRubric, ...] = ()
    claims: tuple[KeptClaim, ...] = ()


class _Detail(msgspec.Struct):
    result: KeptVerdicts


_DETAIL: Final = msgspec.json.Decoder(_Detail)


def read_verdicts(detail: bytes) -> KeptVerdicts:
    """The verdicts in a stored detail.

    Raises:
        ValueError, zlib.error: it is none.
    """
    return _DETAIL.decode(zlib.decompress(detail)).result
