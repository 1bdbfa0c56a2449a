"""What a verdict depends on, as a hash. Pure.

A verdict depends on who judges and on the texts that it is judged by, and on nothing else: not
on ids of rollouts, knobs, weights, groups or callers. So whatever leaves those texts alone, a
changed citation weight or a claim said again in another rollout, finds the verdict again.

    criterion   judge, question, sources, answer, polarity, title, description
    claim       judge, question, claim, the texts of its judged snippets in order
    sentence    judge, question, sentence

A criterion's sources count with their ids, because the answer cites them by id; a claim's only
by their texts, because its verdict names them by position.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.judges.tasks import (
    CitationTask,
    CitedClaim,
    CriteriaTask,
    JudgeIdentity,
)
from citemark_service.parsing.fingerprint import frame_texts
from citemark_service.parsing.parsed import SourceSnippet

Verdict = CriterionVerdict | ClaimVerdict | SentenceVerdict

KEY_BYTES: Final = 32
"""No rollout can be written so that it meets another's verdict: that would break BLAKE2b."""

_VERSION: Final = "1"
"""Counted up when a verdict comes to mean something else although no prompt changed."""


class Item(NamedTuple):
    """One thing to judge."""

    key: bytes
    shape: type[Verdict]
    ids: tuple[str, ...] = ()
    """The ids that a claim's verdict names, in the order of the texts in its key."""


class Keys:
    """Names what one judge is asked. Linear in the length of the task's texts."""

    def __init__(self, identity: JudgeIdentity) -> None:
        self._criterion = _begin_hash(b"criterion", identity)
        self._claim = _begin_hash(b"claim", identity)
        self._sentence = _begin_hash(b"sentence", identity)

    def criteria(self, task: CriteriaTask) -> tuple[Item, ...]:
        """The task's criteria, in order."""
        shared = self._criterion.copy()
        shared.update(frame_texts(task.question, task.answer.text))
        shared.update(task.sources.digest)
        return tuple(
            Item(_digest(shared, *criterion.key), CriterionVerdict) for criterion in task.criteria
        )

    def citations(self, task: CitationTask) -> tuple[Item, ...]:
        """The task's claims, then its sentences, in order."""
        claim, sentence = self._claim.copy(), self._sentence.copy()
        question = frame_texts(task.question)
        claim.update(question)
        sentence.update(question)
        by_id = task.sources.by_id
        claims = [Item(_claim_digest(claim, c, by_id), ClaimVerdict, c.ids) for c in task.claims]
        said = [Item(_digest(sentence, s.text), SentenceVerdict) for s in task.sentences]
        return (*claims, *said)


def _begin_hash(kind: bytes, identity: JudgeIdentity) -> "hashlib.blake2b":
    state = hashlib.blake2b(digest_size=KEY_BYTES, person=kind)
    state.update(frame_texts(_VERSION, identity.model, identity.prompts))
    return state


def _digest(shared: "hashlib.blake2b", *texts: str) -> bytes:
    state = shared.copy()
    state.update(frame_texts(*texts))
    return state.digest()


def _claim_digest(
    shared: "hashlib.blake2b", cited: CitedClaim, by_id: Mapping[str, SourceSnippet]
) -> bytes:
    state = shared.copy()
    state.update(frame_texts(cited.claim.text))
    for snippet_id in cited.ids:
        state.update(by_id[snippet_id].digest)
    return state.digest()
