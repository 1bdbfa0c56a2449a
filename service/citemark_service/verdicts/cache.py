"""Verdicts by key: in this process's memory first, then in the store, if there is one.

A key is a hash of what a verdict depends on: the judge and the texts it reads, not ids of rollouts,
knobs, weights, groups or callers. So it is found again with another citation weight, or for the
same claim in another rollout.

    criterion   judge, conversation, question, sources, answer and its notation, polarity, title,
                description
    claim       judge, conversation, question, claim, the texts of its judged snippets in order
    sentence    judge, conversation, question, sentence

Of a text that the prompt has no room for the key says what is shown, too, which depends on the
rest of the rollout.

A criterion's sources count with their ids, because the answer cites them by id; a claim's only by
their texts. So a cached `ClaimVerdict` is *placed*: it names its sources "0", "1", … in the order
of the key's texts.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cachetools import LRUCache
from pydantic import ValidationError

from citemark_schemas import ClaimVerdict, CriterionVerdict, SentenceVerdict
from citemark_schemas.rollout import conversation_key
from citemark_service.judges.tasks import CitationTask, CriteriaTask, JudgeIdentity
from citemark_service.parsing.fingerprint import fingerprint, frame_texts
from citemark_service.parsing.parsed import Claim, Sentence
from citemark_service.telemetry.metrics import Metrics
from citemark_service.verdicts.store import BatchedStore

Verdict = CriterionVerdict | ClaimVerdict | SentenceVerdict

KEY_BYTES: Final = 32  # of BLAKE2b, so that no rollout can be crafted to get another's verdict

_VERSION: Final = "2"  # to be raised when a verdict's meaning changes without a prompt's change
_CONVERSATION_VERSION: Final = "1"  # to be raised with `conversation.j2`, which no identity has


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
        shared.update(frame_texts(*_texts_of(task), answer.text))
        if answer.style != "snippet":  # the judge sees another rendering of the same text
            ids = (name for mark in answer.marks for name in mark.ids)  # numbers name any source
            shared.update(frame_texts(answer.style, *ids))
        shared.update(task.sources.digest)
        texts: list[tuple[str, ...]] = [criterion.key for criterion in task.criteria]
        if cuts := dict(task.cuts or ()):
            texts = [(*c.key, *cuts[c].key) if c in cuts else c.key for c in task.criteria]
        return tuple(Item(_digest(shared, frame_texts(*each)), CriterionVerdict) for each in texts)

    def citations(self, task: CitationTask) -> tuple[Item, ...]:
        """The task's claims, then its sentences, in order."""
        claim, uncited = self._claim.copy(), self._sentence.copy()
        for state in (claim, uncited):
            state.update(frame_texts(*_texts_of(task)))
        items = []
        cuts = dict(task.cuts or ())

        def cut_of(text: Claim | Sentence | str) -> tuple[str, ...]:
            return cuts[text].key if cuts and text in cuts else ()  # nothing is hashed for no cut

        for cited in task.claims:
            texts = []
            for snippet_id in cited.ids:
                digest, cut = task.sources.by_id[snippet_id].digest, cut_of(snippet_id)
                texts.append(fingerprint(digest.hex(), *cut) if cut else digest)
            said = frame_texts(cited.claim.text, *cut_of(cited.claim))
            items.append(Item(_digest(claim, said, *texts), ClaimVerdict, cited.ids))
        keys = (_digest(uncited, frame_texts(s.text, *cut_of(s))) for s in task.sentences)
        return (*items, *(Item(key, SentenceVerdict) for key in keys))


def _texts_of(task: CriteriaTask | CitationTask) -> tuple[str | None, ...]:
    if not task.conversation:
        return (task.question,)
    return (*conversation_key(task.conversation), _CONVERSATION_VERSION, task.question)


def _digest(shared: "hashlib.blake2b", *parts: bytes) -> bytes:
    state = shared.copy()
    for part in parts:
        state.update(part)
    return state.digest()


# Measured memory of one entry besides key and value: two object headers, slots in three tables.
ENTRY_BYTES: Final = 320


class Memory(LRUCache[bytes, bytes]):
    """An LRU cache of at most `entries` values and about `max_bytes`; 0 entries store nothing."""

    def __init__(self, *, entries: int, max_bytes: int) -> None:
        super().__init__(max_bytes, lambda value: len(value) + KEY_BYTES + ENTRY_BYTES)
        self._entries = entries

    def put(self, key: bytes, value: bytes) -> None:
        # `LRUCache` raises for a value that is larger than the whole cache.
        if self._entries and self.getsizeof(value) <= self.maxsize:
            self[key] = value
        while len(self) > self._entries:
            self.popitem()


class VerdictCache:
    """Placed verdicts. A value that is no verdict on its item is a miss, counted as an error."""

    def __init__(self, memory: Memory, store: BatchedStore | None, *, metrics: Metrics) -> None:
        self._memory = memory
        self._store = store
        self._metrics = metrics

    def recall(self, item: Item) -> Verdict | None:
        value = self._memory.get(item.key)
        return None if value is None else self._decode(item, value)

    async def load(self, items: Sequence[Item]) -> dict[bytes, Verdict]:
        """Read verdicts by key from the store into memory."""
        if self._store is None:
            return {}
        by_key = {item.key: item for item in items}
        found: dict[bytes, Verdict] = {}
        for key, value in (await self._store.read(tuple(by_key))).items():
            if (verdict := self._decode(by_key[key], value)) is not None:
                found[key] = verdict
                self._memory.put(key, value)
        return found

    def keep(self, placed: Mapping[bytes, Verdict]) -> None:
        """Put placed verdicts by key into memory, and queue them for the store."""
        entries = {key: verdict.model_dump_json().encode() for key, verdict in placed.items()}
        for key, value in entries.items():
            self._memory.put(key, value)
        if self._store is not None:
            self._store.write(entries)
        self._metrics.cache_entries.set(len(self._memory))

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()

    def _decode(self, item: Item, value: bytes) -> Verdict | None:
        try:
            verdict = item.shape.model_validate_json(value)
        except ValidationError:
            verdict = None
        if verdict is not None and _covers(verdict, item):
            return verdict
        self._metrics.cache_errors["value"].inc()
        self._memory.pop(item.key, None)
        return None


def rename(verdict: Verdict, names: Iterable[str], others: Iterable[str]) -> Verdict:
    """A verdict whose sources have `others` instead of `names`, in the same order."""
    if not isinstance(verdict, ClaimVerdict) or not verdict.contributing:
        return verdict
    renamed = dict(zip(names, others, strict=True))
    # In a third of the time of `model_copy`.
    return ClaimVerdict(
        support=verdict.support,
        substantive=verdict.substantive,
        contributing={renamed[name]: share for name, share in verdict.contributing.items()},
        variances=verdict.variances,
        caveats=verdict.caveats,
    )


def _covers(verdict: Verdict, item: Item) -> bool:
    """Whether a claim's verdict names exactly the item's sources, with a variance for each."""
    if not isinstance(verdict, ClaimVerdict):
        return True
    if verdict.variances and len(verdict.variances) != 2 + len(verdict.contributing):
        return False
    # A single source may be unnamed: the judge is not asked for its contribution.
    unnamed = not verdict.contributing and len(item.ids) <= 1
    return unnamed or verdict.contributing.keys() == set(item.places)
