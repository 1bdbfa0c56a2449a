"""What a verdict depends on, as a hash. Pure.

A verdict depends on the judge and on the texts it reads, not on ids of rollouts, knobs, weights,
groups or callers. So it is found again with another citation weight, or for the same claim in
another rollout.

    criterion   judge, question, sources, answer and its notation, polarity, title, description
    claim       judge, question, claim, the texts of its judged snippets in order
    sentence    judge, question, sentence

A criterion's sources count with their ids, because the answer cites them by id; a claim's only
by their texts, because its verdict names them by position.
"""

import hashlib
from typing import Final, NamedTuple

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_service.judges.tasks import CitationTask, CriteriaTask, JudgeIdentity
from citemark_service.parsing.fingerprint import frame_texts

Verdict = CriterionVerdict | ClaimVerdict | SentenceVerdict

KEY_BYTES: Final = 32  # of BLAKE2b, so that no rollout can be crafted to get another's verdict

_VERSION: Final = "1"  # to be raised when a verdict's meaning changes without a prompt's change


class Item(NamedTuple):
    key: bytes
    shape: type[Verdict]
    ids: tuple[str, ...] = ()  # of a claim, in the order of the texts in its key

    @property
    def places(self) -> tuple[str, ...]:
        """What a placed verdict calls the ids: "0", "1", …"""
        return tuple(map(str, range(len(self.ids))))


class Keys:
    """Computes the keys of tasks for one judge, in linear time."""

    def __init__(self, identity: JudgeIdentity) -> None:
        judge = frame_texts(_VERSION, identity.model, identity.prompts)
        self._criterion, self._claim, self._sentence = (
            hashlib.blake2b(judge, digest_size=KEY_BYTES, person=kind)
            for kind in (b"criterion", b"claim", b"sentence")
        )

    def criteria(self, task: CriteriaTask) -> tuple[Item, ...]:
        shared = self._criterion.copy()  # hashes what all criteria share once
        answer = task.answer
        shared.update(frame_texts(task.question, answer.text))
        if answer.style != "snippet":  # the judge sees another rendering of the same text
            shared.update(frame_texts(answer.style))
        shared.update(task.sources.digest)
        keys = (_digest(shared, frame_texts(*criterion.key)) for criterion in task.criteria)
        return tuple(Item(key, CriterionVerdict) for key in keys)

    def citations(self, task: CitationTask) -> tuple[Item, ...]:
        """The task's claims, then its sentences, in order."""
        claim, sentence = self._claim.copy(), self._sentence.copy()
        for state in (claim, sentence):
            state.update(frame_texts(task.question))
        items = []
        for cited in task.claims:
            texts = (task.sources.by_id[snippet_id].digest for snippet_id in cited.ids)
            key = _digest(claim, frame_texts(cited.claim.text), *texts)
            items.append(Item(key, ClaimVerdict, cited.ids))
        keys = (_digest(sentence, frame_texts(said.text)) for said in task.sentences)
        return (*items, *(Item(key, SentenceVerdict) for key in keys))


def _digest(shared: "hashlib.blake2b", *parts: bytes) -> bytes:
    state = shared.copy()
    for part in parts:
        state.update(part)
    return state.digest()
