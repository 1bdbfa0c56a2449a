"""Short cases of what a judge must decide, with the right digits: the contract of its rules.

A row has `kind`, `question`, `snippets`, the right `digits` and `why`, beside one of: `claim`,
which cites all snippets (support 0 to 2, use, and a contribution for each of several ids);
`sentence` (fact); or `response`, `criterion` and `polarity` (how far the statement holds, 0 to 2).
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from citemark_schemas import Polarity, Snippet, to_details
from citemark_service.agreement.rows import cite_all, grade
from citemark_service.errors import DataError, JudgeError
from citemark_service.judges.tasks import CitationTask, CriteriaTask, Judge, Meter
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Sentence
from citemark_service.parsing.sources import read_sources
from citemark_service.row_files import RowFile


class Case(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(min_length=1)
    question: str
    snippets: tuple[Snippet, ...]
    claim: str | None = None
    sentence: str | None = None
    response: str | None = None
    criterion: str | None = None
    polarity: Polarity = Polarity.POSITIVE
    digits: str = Field(pattern="^[0-2]+$")
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check_item(self) -> "Case":
        items = [self.claim, self.sentence, self.criterion and self.response]
        if sum(item is not None for item in items) != 1:
            raise ValueError("needs one of claim, sentence, or response with criterion")
        ids = len(self.snippets)
        places = 1 if self.claim is None else 2 + (ids if ids > 1 else 0)
        if len(self.digits) != places:
            raise ValueError(f"needs {places} digits, not {len(self.digits)}")
        return self

    def to_task(self) -> CitationTask | CriteriaTask:
        sources = read_sources(None, self.snippets)
        if self.claim is not None:
            return cite_all(self.question, sources, self.claim)
        if self.sentence is not None:
            stated = Sentence(self.sentence, (0, len(self.sentence)))
            return CitationTask(self.question, sources, claims=(), sentences=(stated,))
        answer = read_answer(self.response or "", "auto", sources)
        return grade(self.question, sources, answer, self.criterion or "", self.polarity)


@dataclass(frozen=True, slots=True)
class Finding:
    case: Case
    digits: str | None  # the judge's, each score rounded; None for a failed judgement

    @property
    def right(self) -> bool:
        return self.digits == self.case.digits


def read_cases(path: Path) -> list[Case]:
    """Raises `DataError`, naming file, line and field, for anything but rows of cases."""
    cases = []
    for numbered in RowFile(path):
        if numbered.row is None:
            raise DataError(f"{path}, {numbered.place}: {numbered.problem}")
        try:
            cases.append(Case.model_validate(numbered.row))
        except ValidationError as error:
            first = to_details(error, root="row")[0]
            raise DataError(f"{path}, {numbered.place}: {first.loc}: {first.message}") from error
    if not cases:
        raise DataError(f"{path}: holds no row")
    return cases


async def judge_cases(judge: Judge, path: Path, *, concurrency: int) -> list[Finding]:
    """Put every case to the judge, `concurrency` >= 1 at a time; findings are in file order."""
    cases = await asyncio.to_thread(read_cases, path)
    gate = asyncio.Semaphore(concurrency)

    async def decide(case: Case) -> Finding:
        async with gate:
            try:
                return Finding(case, await _read_digits(judge, case.to_task()))
            except JudgeError:
                return Finding(case, None)

    return await asyncio.gather(*map(decide, cases))


async def _read_digits(judge: Judge, task: CitationTask | CriteriaTask) -> str:
    if isinstance(task, CriteriaTask):
        (verdict,) = await judge.judge_criteria(task, meter=Meter(), deadline=None)
        scores = [2 * verdict.score]
    else:
        verdicts = await judge.judge_citations(task, meter=Meter(), deadline=None)
        scores = [sentence.factual for sentence in verdicts.sentences]
        for claim in verdicts.claims:
            scores += [2 * claim.support, claim.substantive, *claim.contributing.values()]
    return "".join(f"{score:.0f}" for score in scores)
