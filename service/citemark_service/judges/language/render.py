"""Rendering tasks as prompts: neutral text, fair budgets, one pass of the templates.

What all samples of a group share (rules, conversation, question, sources) comes first, equal byte
for byte, for the server's prefix cache; the answer follows, then the criteria.
"""

import hashlib
import hmac
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from cachetools import FIFOCache

from citemark_schemas import Criterion, Source, WarningKind
from citemark_schemas.rollout import conversation_key
from citemark_service.judges.chat import LevelQuestion, Message
from citemark_service.judges.language.answers import READS_VERSION, ask_citations, ask_criteria
from citemark_service.judges.language.grammar import (
    GRAMMAR_VERSION,
    Layout,
    citation_layout,
    criteria_layout,
)
from citemark_service.judges.language.notation import (
    ID_BYTES,
    KINDS,
    join_ids,
    render_answer,
    state_criterion,
)
from citemark_service.judges.language.templates import load_templates
from citemark_service.judges.language.texts import (
    clip,
    clip_turns,
    excerpt,
    fair_cap,
    find_terms,
    most_bytes,
    neutral,
    neutral_line,
    size,
)
from citemark_service.judges.tasks import (
    IDS_PER_CLAIM,
    CitationTask,
    CitedClaim,
    CriteriaTask,
    Cut,
    Cuts,
    T,
)
from citemark_service.parsing.fingerprint import fingerprint
from citemark_service.parsing.parsed import Claim, Sentence

PROMPT_BYTES = 80_000  # with the reply it fits 32,768 tokens of ordinary text

_SCAFFOLD_BYTES = 1_000  # the fixed text of the user template
_STATED_BYTES = 4_000  # of ordinary criteria, the static ones included
_GROUPS = 128  # that are cached
_GROUP_CHARACTERS = 200_000  # of a cached group; a larger one takes the place of several
_CONVERSATION = "conversation"
_CUT = "\0"  # stands for the answer; neutral text holds no control character
_CUT_KINDS = {
    Criterion: WarningKind.CRITERIA_CUT,
    Claim: WarningKind.ANSWER_CUT,
    Sentence: WarningKind.ANSWER_CUT,
    str: WarningKind.SOURCES_CUT,
}


@dataclass(frozen=True, slots=True)
class Budget:
    """The most UTF-8 bytes of each part of a prompt, whatever the length of the others."""

    question: int
    sources: int
    answer: int
    items: int  # criteria, or claims and sentences
    conversation: int = 0  # of the sources' part, where there is a conversation


@dataclass(frozen=True, slots=True)
class _Group:
    """What every sample of a group shares, as neutral text."""

    nonce: str
    question: str
    conversation: str  # the fenced turns, empty without any
    texts: Mapping[str, str]  # each source by id, uncut
    head: str  # the criteria prompt up to the answer
    question_cut: bool  # or the conversation
    sources_cut: bool  # in a criteria prompt


@dataclass(frozen=True, slots=True)
class _Shares:
    """The bytes that sources have in a citation prompt, the same for all samples of a group."""

    room: int  # for all
    most: int  # for one
    sizes: Mapping[str, int]  # at most, whole, by id
    long: tuple[str, ...]  # ids of those that are over the most for one


class Prompt(NamedTuple):
    """What is asked: for a reply of `layout`, or the questions about each of its digits."""

    layout: Layout
    messages: tuple[Message, ...]
    questions: tuple[LevelQuestion, ...] = ()


class PromptWriter:
    """Renders prompts of at most about `prompt_bytes`, fenced with nonces keyed by `secret`.

    With `reads` they end before what is asked, which is in their questions.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        prompt_bytes: int = PROMPT_BYTES,
        groups: int = _GROUPS,
        reads: bool = False,
    ) -> None:
        self.reads = reads
        self._secret = secret
        self.prompt_bytes = prompt_bytes
        self._texts, self._environment = load_templates()
        self._budgets = {}
        for name in ("criteria", "citations"):
            taken = size(self._texts[f"{name}.system.j2"]) + _SCAFFOLD_BYTES
            left = max(0, prompt_bytes - taken)
            items = left * 3 // 16
            # What is asked comes before what it is asked about.
            extra = max(0, min(_STATED_BYTES, left // 2) - items) * (name == "criteria")
            self._budgets[name] = Budget(
                left // 16, left // 2 - extra, left // 4, items + extra, conversation=left // 8
            )
        self._citation_rules = self._fill("citations.system")
        room = groups * _GROUP_CHARACTERS
        self._turn = Lock()  # long prompts are written in threads
        self._groups = FIFOCache[bytes, _Group](room, getsizeof=_count_characters)
        self._shares = FIFOCache[bytes, _Shares](groups)
        # Cached, since it is equal for all samples of a group.
        self._write_wording = lru_cache(maxsize=2 * groups)(self._word_criteria)

    def apart(self, prompt_bytes: int | None = None) -> "PromptWriter":
        """A writer of the same prompts with small caches of its own: for another thread or size."""
        most = prompt_bytes or self.prompt_bytes
        return PromptWriter(secret=self._secret, prompt_bytes=most, groups=4, reads=self.reads)

    @property
    def budget(self) -> Budget:
        """The budget of a criteria prompt."""
        return self._budgets["criteria"]

    @property
    def version(self) -> str:
        """Short hash over the templates, the grammar and the prompt's size.

        Without the conversation's: most prompts have none, and their verdicts stay valid.
        """
        parts = [GRAMMAR_VERSION, str(self.prompt_bytes), *[READS_VERSION] * self.reads]
        for name, text in sorted(self._texts.items()):
            parts += () if name == f"{_CONVERSATION}.j2" else (name, text)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def cut(self, task: T) -> T:
        """The task with its `cuts`; how much is shown of a source depends on its group alone."""
        if task.cuts is not None:
            return task
        if isinstance(task, CriteriaTask):
            stated = [f"{c.title}: {c.description}" for c in task.criteria]
            return replace(task, cuts=_cut_texts(task.criteria, stated, self.budget.items))
        budget = self._budgets["citations"]
        lines = _said_in(task)
        said = [line.text for line in lines]
        cuts: Cuts = _cut_texts(lines, said, budget.answer + budget.items)
        shares = self._share_room(task)
        for name in shares.long:
            claims = tuple(cited.claim.text for cited in task.claims if name in cited.ids)
            if claims:
                cuts = (*cuts, (name, Cut(shares.most, claims)))
        return replace(task, cuts=cuts)

    def divide(self, task: CitationTask) -> list[CitationTask]:
        """Cut parts of a task, each with claims whose sources fit a prompt, as few as first fit.

        The first part has the sentences.
        """
        task, shares = self.cut(task), self._share_room(task)
        if sum(shares.sizes.values()) <= shares.room:
            return [task]
        parts: list[tuple[list[CitedClaim], dict[str, int]]] = [([], {})]
        for claim in task.claims:
            sizes = {i: min(shares.sizes[i], shares.most) for i in claim.ids}
            fit = (p for p in parts if not p[1] or sum((p[1] | sizes).values()) <= shares.room)
            if (part := next(fit, None)) is None:
                parts.append(part := ([], {}))
            part[0].append(claim)
            part[1].update(sizes)
        return [
            replace(task, claims=tuple(claims), sentences=() if at else task.sentences)
            for at, (claims, _) in enumerate(parts)
        ]

    def find_cuts(self, task: CriteriaTask | CitationTask) -> tuple[WarningKind, ...]:
        """What of a task from `cut` is not whole in its prompts."""
        group = self._read_group(task)
        kinds = {_CUT_KINDS[type(text)] for text, _ in task.cuts or ()}
        if group.question_cut:
            kinds.add(WarningKind.QUESTION_CUT)
        if isinstance(task, CriteriaTask):
            answer = render_answer(task.answer, task.sources.by_id, sys.maxsize)
            if size(answer) > self.budget.answer:
                kinds.add(WarningKind.ANSWER_CUT)
            if group.sources_cut:
                kinds.add(WarningKind.SOURCES_CUT)
        return tuple(sorted(kinds))

    def criteria(
        self, task: CriteriaTask, criteria: Sequence[Criterion], *, quotes: bool
    ) -> Prompt:
        """The prompt for `criteria`, all or a part of the task's.

        All static criteria of the task are in the rules, so that the parts share their beginning.
        """
        task = self.cut(task)
        layout = criteria_layout(len(criteria), quotes=quotes)
        group = self._read_group(task)
        system, tail, questions = self._write_wording(
            task.criteria, task.cuts or (), tuple(criteria), group.nonce, quotes
        )
        answer = render_answer(task.answer, task.sources.by_id, self.budget.answer)
        user = Message("user", group.head + answer + tail)
        return Prompt(layout, (Message("system", system), user), questions)

    def citations(self, task: CitationTask) -> Prompt:
        """As `criteria` for a task from `divide`, with the cited snippets in source order."""
        layout = citation_layout(tuple(len(c.ids) for c in task.claims), len(task.sentences))
        group = self._read_group(task)
        cuts = dict(task.cuts or ())
        said = _said_in(task)
        lines = [neutral_line(line.text) for line in said]
        if cuts:
            lines = [_clip(text, cuts.get(line)) for line, text in zip(said, lines, strict=True)]
        cut = len(task.claims)
        cited = {snippet_id for claim in task.claims for snippet_id in claim.ids}
        shown = []
        for name, text in group.texts.items():
            if name in cited:
                passages = cuts.get(name)
                if passages is not None:
                    text = excerpt(text, find_terms(passages.about), passages.most)  # noqa: PLW2901
                shown.append((join_ids([name]), text))
        user = self._fill(
            "citations.user",
            nonce=group.nonce,
            question=group.question,
            sources=shown,
            claims=[(join_ids(c.ids), s) for c, s in zip(task.claims, lines[:cut], strict=True)],
            sentences=lines[cut:],
            shape=layout.shape,
        )
        messages = (
            Message("system", self._citation_rules),
            Message("user", group.conversation + user),
        )
        ids = [claim.ids for claim in task.claims]
        questions = ask_citations(ids, len(task.sentences), group.nonce) if self.reads else ()
        return Prompt(layout, messages, questions)

    def affinity(self, task: CriteriaTask | CitationTask) -> str:
        """The group's nonce: 8 hex digits, equal for all tasks of a group."""
        return self._read_group(task).nonce

    def _fill(self, name: str, **values: object) -> str:
        return self._environment.get_template(f"{name}.j2").render(values, reads=self.reads)

    def _word_criteria(
        self,
        every: tuple[Criterion, ...],
        cuts: Cuts,
        part: tuple[Criterion, ...],
        nonce: str,
        quotes: bool,
    ) -> tuple[str, str, tuple[LevelQuestion, ...]]:
        """The rules with all static criteria, the text after the answer, and the questions."""
        known = dict(cuts)
        stated = {c: _clip(state_criterion(c), known.get(c)) for c in every}
        standing = [(KINDS[c.polarity], stated[c]) for c in every if c.source is Source.STATIC]
        listed = []
        for c in part:
            defined = c.source is Source.STATIC
            text = f"{neutral_line(c.title)} (defined above)" if defined else stated[c]
            listed.append((KINDS[c.polarity], text))
        shape = criteria_layout(len(part), quotes=quotes).shape
        _, tail = self._around_answer(nonce, criteria=listed, quotes=quotes, shape=shape)
        questions = ask_criteria(listed, nonce) if self.reads else ()
        return self._fill("criteria.system", standing=standing), tail, questions

    def _around_answer(self, nonce: str, **values: object) -> tuple[str, str]:
        """The criteria prompt before and after its answer; `values` not given are empty."""
        nothing = {"question": "", "sources": (), "criteria": (), "quotes": False, "shape": ""}
        given = {**nothing, **values, "nonce": nonce, "answer": _CUT}
        head, _, tail = self._fill("criteria.user", **given).partition(_CUT)
        return head, tail

    def _share_room(self, task: CitationTask) -> _Shares:
        content = task.sources.digest + (b"+" if task.conversation else b"")
        if (known := self._shares.get(content)) is not None:
            return known
        budget = self._budgets["citations"]
        room = budget.sources - (budget.conversation if task.conversation else 0)
        sizes = {name: most_bytes(source.text) for name, source in task.sources.by_id.items()}
        # A claim with all its sources always fits one prompt.
        most = max(fair_cap(sizes.values(), room), room // IDS_PER_CLAIM)
        long = tuple(name for name, taken in sizes.items() if taken > most)
        shares = _Shares(room, most, sizes, long)
        with self._turn:
            self._shares[content] = shares
        return shares

    def _read_group(self, task: CriteriaTask | CitationTask) -> _Group:
        question, sources, turns = task.question, task.sources, task.conversation
        content = sources.digest + question.encode(errors="surrogatepass")
        if turns:
            content = fingerprint(*(text or "" for text in conversation_key(turns))) + content
        if (known := self._groups.get(content)) is not None:
            return known
        # The answer's author cannot guess it, and it is equal for all samples of the group.
        nonce = hmac.digest(self._secret, content, "sha256").hex()[:8]
        texts = {name: neutral(s.text).strip() for name, s in sources.by_id.items()}
        clipped = clip(asked := neutral(question).strip(), self.budget.question)
        question_cut = clipped != asked
        spoken = ""
        if turns:
            whole = [
                (clip(neutral_line(t.role), ID_BYTES), neutral(t.content).strip()) for t in turns
            ]
            said = clip_turns(whole, self.budget.conversation)
            question_cut |= said != whole
            spoken = self._fill(_CONVERSATION, nonce=nonce, turns=said) + "\n\n"
        terms = find_terms([question, *(turn.content for turn in turns)])
        sizes = {name: size(text) for name, text in texts.items()}
        cap = fair_cap(sizes.values(), self.budget.sources - size(spoken))
        sources_cut = max(sizes.values(), default=0) > cap
        shown = [(join_ids([name]), excerpt(text, terms, cap)) for name, text in texts.items()]
        head, _ = self._around_answer(nonce, question=clipped, sources=shown)
        group = _Group(
            nonce,
            clipped,
            spoken,
            texts,
            head=spoken + head,
            question_cut=question_cut,
            sources_cut=sources_cut,
        )
        if _count_characters(group) <= self._groups.maxsize:
            with self._turn:
                self._groups[content] = group
        return group


def _count_characters(group: _Group) -> int:
    return max(_GROUP_CHARACTERS, sum(map(len, group.texts.values())))


def shared_part(messages: Sequence[Message]) -> int:
    """Characters of a criteria prompt's last message before its answer, 0 for a citation prompt.

    Only the template writes `<`, so no question or source can move this boundary.
    """
    return max(0, messages[-1].content.find("<answer-"))


def _said_in(task: CitationTask) -> Sequence[Claim | Sentence]:
    return [*(cited.claim for cited in task.claims), *task.sentences]


def _cut_texts(
    items: Sequence[Criterion | Claim | Sentence], texts: Sequence[str], budget: int
) -> Cuts:
    if most_bytes("".join(texts)) <= budget:  # nearly always, without a look at each
        return ()
    sizes = [*map(most_bytes, texts)]
    most = fair_cap(sizes, budget)
    return tuple(
        (each, Cut(most)) for each, taken in zip(items, sizes, strict=True) if taken > most
    )


def _clip(text: str, cut: Cut | None) -> str:
    return text if cut is None else clip(text, cut.most)
