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

from jinja2 import DictLoader, Environment, StrictUndefined

from citemark_schemas import Criterion, Polarity, Source
from citemark_service.judges.chat import Message
from citemark_service.judges.grammar import GRAMMAR_VERSION, Layout
from citemark_service.judges.neutral import neutral, neutral_line
from citemark_service.judges.protocol import CitationTask, CitedClaim, CriteriaTask
from citemark_service.judges.shorten import clip, excerpt, fair_cap, size, terms_of
from citemark_service.parsed import Sources
from citemark_service.tags import Tag, claim_tags

PROMPT_BYTES = 80_000
"""Default bound of one prompt: with its reply it fits 32,768 tokens of ordinary text."""

_SCAFFOLD_BYTES = 1_000
_ID_BYTES = 80
_SHOWN_IDS = 12
_GROUPS_KEPT = 128
_STATEMENTS_KEPT = 2048
_KIND = {Polarity.POSITIVE: "quality", Polarity.NEGATIVE: "defect"}
_ANSWER = "<answer-"
_OPEN, _OPENED, _CLOSE = "\ue000", "\ue001", "\ue002"
_UNMARKED = str.maketrans(_OPEN + _OPENED + _CLOSE, "\ufffd" * 3)
_MARK_TAGS = str.maketrans({_OPEN: "<cite ", _OPENED: ">", _CLOSE: "</cite>"})

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


@dataclass(frozen=True, slots=True)
class _Group:
    """What every sample of a group shares, made safe once."""

    nonce: str
    question: str
    texts: Mapping[str, str]
    """Neutral text of each source, whole."""
    excerpts: _Shown
    """All sources as the criteria prompt shows them."""


@dataclass(frozen=True, slots=True)
class _Latest:
    """The rollout asked about last: its tasks follow each other, and a digest takes time."""

    question: str
    sources: Sources
    group: _Group

    def of(self, question: str, sources: Sources) -> bool:
        """Whether it is the same one; its sources are one object, never an equal one."""
        return sources is self.sources and question == self.question


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
        self._groups: dict[bytes, _Group] = {}
        self._latest: _Latest | None = None
        self._statement = lru_cache(maxsize=_STATEMENTS_KEPT)(_statement)

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
        budget = self._budget("criteria")
        group = self._group(task.question, task.sources)
        statements = dict(zip(task.criteria, self._statements(task, budget), strict=True))
        system = self._text(
            "criteria.system",
            standing=[
                (_KIND[c.polarity], statements[c])
                for c in task.criteria
                if c.source is Source.STATIC
            ],
        )
        user = self._text(
            "criteria.user",
            nonce=group.nonce,
            question=group.question,
            sources=group.excerpts,
            answer=shown_answer(task.answer.text, budget.answer),
            criteria=[(_KIND[c.polarity], _listed(c, statements[c])) for c in criteria],
            quotes=quotes,
            shape=layout.shape,
        )
        return (Message("system", system), Message("user", user))

    def citations(self, task: CitationTask, layout: Layout) -> tuple[Message, ...]:
        """The prompt for all claims and sentences, with the cited snippets in source order."""
        budget = self._budget("citations")
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
        return (Message("system", self._text("citations.system")), Message("user", user))

    def affinity(self, task: CriteriaTask | CitationTask) -> str:
        """Equal for all tasks of a group, whose criteria prompts begin alike; 8 hex digits."""
        return self._group(task.question, task.sources).nonce

    def _text(self, name: str, **values: object) -> str:
        return self._environment.get_template(f"{name}.j2").render(values)

    def _budget(self, name: str) -> Budget:
        rules = size(self._texts[f"{name}.system.j2"])
        return Budget.within(max(0, self._prompt_bytes - rules - _SCAFFOLD_BYTES))

    def _statements(self, task: CriteriaTask, budget: Budget) -> list[str]:
        return _fitted(
            [self._statement(c.title, c.description) for c in task.criteria], budget.items
        )

    def _group(self, question: str, sources: Sources) -> _Group:
        """The group's part; remembered, since its other samples are on their way."""
        if self._latest is None or not self._latest.of(question, sources):
            self._latest = _Latest(question, sources, self._known_group(question, sources))
        return self._latest.group

    def _known_group(self, question: str, sources: Sources) -> _Group:
        digest = self._digest(question, sources)
        if (known := self._groups.get(digest)) is not None:
            return known
        if len(self._groups) >= _GROUPS_KEPT:
            del self._groups[next(iter(self._groups))]
        group = self._groups[digest] = self._read_group(digest.hex()[:8], question, sources)
        return group

    def _read_group(self, nonce: str, question: str, sources: Sources) -> _Group:
        budget = self._budget("criteria")
        texts = {name: neutral(s.text).strip() for name, s in sources.by_id.items()}
        return _Group(
            nonce=nonce,
            question=clip(neutral(question).strip(), budget.question),
            texts=texts,
            excerpts=_all_sources(question, texts, budget.sources),
        )

    def _digest(self, question: str, sources: Sources) -> bytes:
        """Unforgeable without the secret, equal for all samples of a group."""
        mac = hmac.new(self._secret, digestmod="sha256")
        parts = (part for s in sources.by_id.values() for part in (s.id, s.text))
        for text in (question, *parts):
            mac.update(b"%d:" % len(text))
            mac.update(text.encode(errors="surrogatepass"))
        return mac.digest()


def shared_part(messages: Sequence[Message]) -> int:
    """Characters of a criteria prompt's last message before its answer, 0 for a citation prompt.

    Only the template writes `<`, so that no question or source can move this boundary.
    """
    return max(0, messages[-1].content.find(_ANSWER))


def _template_texts() -> dict[str, str]:
    folder = resources.files("citemark_service.judges") / "prompts"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def _statement(title: str, description: str) -> str:
    """Title and description on one line; a title that only repeats the description is dropped."""
    title, description = neutral_line(title), neutral_line(description)
    return description if description.startswith(title.rstrip("…")) else f"{title}: {description}"


def _listed(criterion: Criterion, statement: str) -> str:
    """A criterion in the list after the answer; one of the rules' own by its name."""
    if criterion.source is Source.STATIC:
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
    text = text.translate(_UNMARKED)  # one character for one, so that positions stay
    pieces, at = [], 0
    for tag in claim_tags(text, 0, len(text)):
        pieces += [text[at : tag.start], _mark(tag)]
        at = tag.end
    marked = "".join([*pieces, text[at:]])
    return clip(neutral(marked).translate(_MARK_TAGS).strip(), budget)


def _mark(tag: Tag) -> str:
    """A claim tag with marks in the place of its angle brackets, which `neutral` would take."""
    return _CLOSE if tag.closing else f"{_OPEN}{_ids(tag.ids) or '?'}{_OPENED}"
