"""Turning tasks into messages: neutral text, fair budgets, one pass of the templates.

What all samples of a group share (rules, question, sources) comes first and depends on nothing
else, so that a server's prefix cache holds it; the answer, then the criteria, follow.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from jinja2 import DictLoader, Environment, StrictUndefined

from citemark_schemas import Criterion, Polarity, Source
from citemark_service.judges.chat import Message
from citemark_service.judges.language.grammar import GRAMMAR_VERSION, Layout
from citemark_service.judges.language.neutral import neutral, neutral_line
from citemark_service.judges.language.shorten import clip, excerpt, fair_cap, size, terms_of
from citemark_service.judges.tasks import CitationTask, CitedClaim, CriteriaTask
from citemark_service.parsing.parsed import Sources
from citemark_service.parsing.tags import Tag, claim_tags

PROMPT_BYTES = 80_000
"""Default bound of one prompt: with its reply it fits 32,768 tokens of ordinary text."""

_SCAFFOLD_BYTES = 1_000
_ID_BYTES = 80
_SHOWN_IDS = 12
_GROUPS_KEPT = 128
_GROUP_CHARACTERS = 200_000  # larger ones are read anew each time: memory is bounded by both
_WORDINGS_KEPT = 256
_ANSWER = "<answer-"
_CUT = "\0"
_OPEN, _OPENED, _CLOSE = "\ue000", "\ue001", "\ue002"
_MARKS = {_OPEN: "<cite ", _OPENED: ">", _CLOSE: "</cite>"}

_Shown = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """How many bytes each part of a prompt may take; no part depends on another's length."""

    question: int
    sources: int
    answer: int
    items: int
    """Criteria, or claims and sentences."""

    @classmethod
    def within(cls, prompt_bytes: int) -> "Budget":
        """Divide what the rules leave: the sources get half, the answer a quarter."""
        return cls(
            question=prompt_bytes // 16,
            sources=prompt_bytes // 2,
            answer=prompt_bytes // 4,
            items=prompt_bytes * 3 // 16,
        )


class _Asked(NamedTuple):
    """What of a criterion is put to the judge."""

    title: str
    description: str
    defect: bool
    standing: bool
    """Whether it is of the static set, and so defined among the rules."""

    @property
    def kind(self) -> str:
        return "defect" if self.defect else "quality"


@dataclass(frozen=True, slots=True)
class _Group:
    """What every sample of a group shares, made safe once."""

    nonce: str
    question: str
    texts: Mapping[str, str]
    """Neutral text of each source, whole."""
    head: str
    """The criteria prompt up to the answer."""


class PromptWriter:
    """Renders prompts of at most about `prompt_bytes`, fenced with codes drawn from `secret`."""

    def __init__(self, *, secret: bytes, prompt_bytes: int = PROMPT_BYTES) -> None:
        self._secret = secret
        self._prompt_bytes = prompt_bytes
        self._texts = _template_texts()
        self._environment = Environment(
            loader=DictLoader(self._texts),
            autoescape=False,  # noqa: S701 - the output is a prompt; `neutral` is its escaping
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._budgets = {name: self._budget(name) for name in ("criteria", "citations")}
        self._citation_rules = self._text("citations.system")
        self._groups: dict[bytes, _Group] = {}
        self._wording = lru_cache(maxsize=_WORDINGS_KEPT)(self._worded)

    def apart(self) -> "PromptWriter":
        """A writer of the same prompts that remembers nothing of this one, for another thread."""
        return PromptWriter(secret=self._secret, prompt_bytes=self._prompt_bytes)

    @property
    def budget(self) -> Budget:
        """What each part of a criteria prompt may take."""
        return self._budgets["criteria"]

    @property
    def version(self) -> str:
        """Short hash over the templates, the grammar and the budget."""
        parts = [GRAMMAR_VERSION, str(self._prompt_bytes)]
        parts += [part for item in sorted(self._texts.items()) for part in item]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def criteria(
        self, task: CriteriaTask, criteria: Sequence[Criterion], layout: Layout, *, quotes: bool
    ) -> tuple[Message, ...]:
        """The prompt for `criteria`, which may be a part of the task's.

        Static criteria are defined among the rules, all of the task's in each part, so that the
        parts too share their beginning.
        """
        group = self._group(task.question, task.sources)
        every, part = tuple(map(_asked, task.criteria)), tuple(map(_asked, criteria))
        system, tail = self._wording(every, part, group.nonce, quotes, layout.shape)
        answer = shown_answer(task.answer.text, self._budgets["criteria"].answer)
        return (Message("system", system), Message("user", group.head + answer + tail))

    def citations(self, task: CitationTask, layout: Layout) -> tuple[Message, ...]:
        """The prompt for all claims and sentences, with the cited snippets in source order."""
        budget = self._budgets["citations"]
        group = self._group(task.question, task.sources)
        texts = [*(c.claim.text for c in task.claims), *(s.text for s in task.sentences)]
        lines = _fitted([neutral_line(text) for text in texts], budget.answer + budget.items)
        cut = len(task.claims)
        user = self._text(
            "citations.user",
            nonce=group.nonce,
            question=group.question,
            sources=_cited(group.texts, task.claims, budget.sources),
            claims=[(_ids(c.ids), s) for c, s in zip(task.claims, lines[:cut], strict=True)],
            sentences=lines[cut:],
            shape=layout.shape,
        )
        return (Message("system", self._citation_rules), Message("user", user))

    def affinity(self, task: CriteriaTask | CitationTask) -> str:
        """Equal for all tasks of a group, whose criteria prompts begin alike; 8 hex digits."""
        return self._group(task.question, task.sources).nonce

    def _text(self, name: str, **values: object) -> str:
        return self._environment.get_template(f"{name}.j2").render(values)

    def _budget(self, name: str) -> Budget:
        rules = size(self._texts[f"{name}.system.j2"])
        return Budget.within(max(0, self._prompt_bytes - rules - _SCAFFOLD_BYTES))

    def _worded(
        self,
        every: tuple[_Asked, ...],
        part: tuple[_Asked, ...],
        nonce: str,
        quotes: bool,
        shape: str,
    ) -> tuple[str, str]:
        """The rules with all standing criteria, and what follows the answer; the same for all
        samples of a group, and so remembered.
        """
        statements = dict(zip(every, self._statements(every), strict=True))
        standing = [(c.kind, statements[c]) for c in every if c.standing]
        listed = [(c.kind, _listed(c, statements[c])) for c in part]
        system = self._text("criteria.system", standing=standing)
        _, _, tail = self._around_answer(nonce, criteria=listed, quotes=quotes, shape=shape)
        return system, tail

    def _statements(self, criteria: Sequence[_Asked]) -> list[str]:
        texts = [_statement(c.title, c.description) for c in criteria]
        return _fitted(texts, self._budgets["criteria"].items)

    def _around_answer(self, nonce: str, **values: object) -> tuple[str, str, str]:
        """The criteria prompt cut at its answer; what is not given is empty."""
        nothing = {"question": "", "sources": (), "criteria": (), "quotes": False, "shape": ""}
        # A control character, which no neutral text holds.
        given = {**nothing, **values, "nonce": nonce, "answer": _CUT}
        return self._text("criteria.user", **given).partition(_CUT)

    def _group(self, question: str, sources: Sources) -> _Group:
        """The group's part; remembered, since its other samples are on their way."""
        content = sources.digest + question.encode(errors="surrogatepass")
        if (known := self._groups.get(content)) is not None:
            return known
        group = self._read_group(content, question, sources)
        if sum(map(len, group.texts.values())) <= _GROUP_CHARACTERS:
            self._remember(content, group)
        return group

    def _remember(self, content: bytes, group: _Group) -> None:
        if len(self._groups) >= _GROUPS_KEPT:
            del self._groups[next(iter(self._groups))]
        self._groups[content] = group

    def _read_group(self, content: bytes, question: str, sources: Sources) -> _Group:
        nonce = self._nonce(content)
        budget = self._budgets["criteria"]
        texts = {name: neutral(s.text).strip() for name, s in sources.by_id.items()}
        asked = clip(neutral(question).strip(), budget.question)
        shown = _all_sources(question, texts, budget.sources)
        head, _, _ = self._around_answer(nonce, question=asked, sources=shown)
        return _Group(nonce=nonce, question=asked, texts=texts, head=head)

    def _nonce(self, content: bytes) -> str:
        """Unforgeable without the secret, equal for all samples of a group."""
        return hmac.digest(self._secret, content, "sha256").hex()[:8]


def shared_part(messages: Sequence[Message]) -> int:
    """Characters of a criteria prompt's last message before its answer, 0 for a citation prompt.

    Only the template writes `<`, so that no question or source can move this boundary.
    """
    return max(0, messages[-1].content.find(_ANSWER))


def _template_texts() -> dict[str, str]:
    folder = resources.files("citemark_service.judges.language") / "prompts"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def _statement(title: str, description: str) -> str:
    """Title and description on one line; a title that only repeats the description is dropped."""
    title, description = neutral_line(title), neutral_line(description)
    return description if description.startswith(title.rstrip("…")) else f"{title}: {description}"


def _asked(criterion: Criterion) -> _Asked:
    return _Asked(
        criterion.title,
        criterion.description,
        defect=criterion.polarity is Polarity.NEGATIVE,
        standing=criterion.source is Source.STATIC,
    )


def _listed(criterion: _Asked, statement: str) -> str:
    """A criterion in the list after the answer; one of the rules' own by its name."""
    if criterion.standing:
        return f"{neutral_line(criterion.title)} (defined above)"
    return statement


def _fitted(texts: Sequence[str], budget: int) -> list[str]:
    cap = fair_cap(map(size, texts), budget)
    return [clip(text, cap) for text in texts]


def _ids(ids: Sequence[str]) -> str:
    shown = [clip(neutral_line(snippet_id), _ID_BYTES) for snippet_id in ids[:_SHOWN_IDS]]
    more = len(ids) - len(shown)
    return ",".join(shown) + (f" and {more} more" if more else "")


def _all_sources(question: str, texts: Mapping[str, str], budget: int) -> _Shown:
    terms = terms_of([question])
    cap = fair_cap(map(size, texts.values()), budget)
    return tuple((_ids([name]), excerpt(text, terms, cap)) for name, text in texts.items())


def _cited(texts: Mapping[str, str], claims: Sequence[CitedClaim], budget: int) -> _Shown:
    """Each cited snippet once; a long one by the parts that its own claims speak of."""
    cited = {snippet_id for claim in claims for snippet_id in claim.ids}
    shown = {name: text for name, text in texts.items() if name in cited}
    cap = fair_cap(map(size, shown.values()), budget)
    return tuple(
        (_ids([name]), text if size(text) <= cap else excerpt(text, _sought(name, claims), cap))
        for name, text in shown.items()
    )


def _sought(snippet_id: str, claims: Sequence[CitedClaim]) -> frozenset[str]:
    return terms_of(claim.claim.text for claim in claims if snippet_id in claim.ids)


def shown_answer(text: str, budget: int) -> str:
    """The answer as the judge sees it: neutral, with claims as `<cite IDS>…</cite>`.

    Every other tag of the answer is defused, so that none of this notation can be forged.
    """
    for mark in _MARKS:
        text = text.replace(mark, "\ufffd")
    pieces, at = [], 0
    for tag in claim_tags(text, 0, len(text)):
        pieces += [text[at : tag.start], _mark(tag)]
        at = tag.end
    shown = neutral("".join([*pieces, text[at:]]))
    for mark, tag_text in _MARKS.items():
        shown = shown.replace(mark, tag_text)
    return clip(shown.strip(), budget)


def _mark(tag: Tag) -> str:
    """A claim tag with marks in the place of its angle brackets, which `neutral` would take."""
    return _CLOSE if tag.closing else f"{_OPEN}{_ids(tag.ids) or '?'}{_OPENED}"
