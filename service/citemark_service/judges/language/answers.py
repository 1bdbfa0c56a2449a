"""Verdicts that are read, not written: a question for each digit of a layout, and its answer.

The server tells the probability of each level, so nothing is written, parsed or cut short.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from citemark_service.errors import InvalidVerdict, JudgeUnreadable
from citemark_service.judges.chat import LevelQuestion
from citemark_service.judges.language.grammar import Layout
from citemark_service.judges.language.notation import join_ids
from citemark_service.judges.language.replies import ParsedReply, weigh_levels

READS_VERSION: Final = "1"  # of the questions
MOST_QUESTIONS: Final = 64  # of one call, on vLLM and SGLang

_MET: Final = {
    "quality": ("not met", "partly met", "fully met"),
    "defect": ("absent", "in a side statement", "in a main one, or over a third of the answer"),
}
_STATED: Final = (
    "the central part is not stated, or is contradicted",
    "the central part is stated, a side part is not",
    "every part is stated",
)
_NO_YES: Final = ("no", "yes")


def ask_criteria(listed: Sequence[tuple[str, str]], nonce: str) -> tuple[LevelQuestion, ...]:
    """One question for each criterion, a kind and a neutral text."""
    return tuple(
        LevelQuestion(
            _name_digit(str(number), 0),
            f"How far does the statement of this criterion hold of the answer?\n"
            f"<criterion-{nonce}>\n[{kind}] {text}\n</criterion-{nonce}>",
            _MET[kind],
        )
        for number, (kind, text) in enumerate(listed, start=1)
    )


def ask_citations(
    ids_per_claim: Sequence[Sequence[str]], sentences: int, nonce: str
) -> tuple[LevelQuestion, ...]:
    """The digits of each claim, then of each sentence, in the order of `citation_layout`."""
    asked = []
    for number, ids in enumerate(ids_per_claim, start=1):
        texts = [
            "S: do the cited sources, read together, state the claim?",
            "U: were it true, would it help to answer the question?",
        ]
        for name in ids if len(ids) > 1 else ():
            source = f"<id-{nonce}>{join_ids([name])}</id-{nonce}>"
            texts.append(f"C of {source}: does that source itself state some part of the claim?")
        for at, text in enumerate(texts):
            levels = _NO_YES if at else _STATED
            key = _name_digit(str(number), at)
            asked.append(LevelQuestion(key, f"Claim {number} above, {text}", levels))
    for number in range(1, sentences + 1):
        text = f"Sentence s{number} above, F: does it state a fact about the world?"
        asked.append(LevelQuestion(_name_digit(f"s{number}", 0), text, _NO_YES))
    return tuple(asked)


def _name_digit(key: str, at: int) -> str:
    return f"{key}.{at}"


class _LevelAnswer(msgspec.Struct):
    probabilities: dict[str, float]


class _Diagnosis(msgspec.Struct):
    label_mass: float


class _LevelReply(msgspec.Struct):
    answers: dict[str, _LevelAnswer]
    diagnostics: dict[str, _Diagnosis]


_ANSWERS: Final = msgspec.json.Decoder(_LevelReply)


def parse_answers(replies: Sequence[str], layout: Layout, least_mass: float) -> ParsedReply:
    """Validate the answers to all questions of `layout`, over one or more calls.

    Raises:
        JudgeUnreadable: a reply is of another shape.
        InvalidVerdict: an answer is missing or not a distribution over its levels, or less than
            `least_mass` of the model's probability is on them.
    """
    answers: dict[str, _LevelAnswer] = {}
    diagnostics: dict[str, _Diagnosis] = {}
    for reply in replies:
        try:
            read = _ANSWERS.decode(reply)
        except (msgspec.DecodeError, RecursionError) as error:
            raise JudgeUnreadable("the reply does not answer questions") from error
        answers |= read.answers
        diagnostics |= read.diagnostics
    digits: dict[str, tuple[int, ...]] = {}
    scores: dict[str, tuple[float, ...]] = {}
    variances: dict[str, tuple[float, ...] | None] = {}
    for field in layout.fields:
        names = [_name_digit(field.key, at) for at in range(len(field.tops))]
        if missing := [each for each in names if each not in answers or each not in diagnostics]:
            raise InvalidVerdict(f"the reply lacks {', '.join(missing)}")
        masses = []
        for name, top in zip(names, field.tops, strict=True):
            masses.append(_check_masses(name, answers[name].probabilities, top))
            if (mass := diagnostics[name].label_mass) < least_mass:
                raise InvalidVerdict(
                    f"verdict {name} has {mass:.2g} of the probability on its levels, less than "
                    f"{least_mass:g} (CITEMARK_JUDGE_LABEL_MASS): the model would say something "
                    "else; CITEMARK_JUDGE_ASKS=write has verdicts written under a grammar"
                )
        digits[field.key] = tuple(max(each, key=each.__getitem__) for each in masses)
        weighed = map(weigh_levels, masses, field.tops)
        scores[field.key], variances[field.key] = zip(*weighed, strict=True)
    return ParsedReply(digits, scores, variances, quotes={}, weighed=True)


def _check_masses(name: str, probabilities: dict[str, float], top: int) -> dict[int, float]:
    masses = {level: probabilities.get(str(level), -1.0) for level in range(top + 1)}
    # A server that rounds need not make them add up to 1.
    off = abs(sum(masses.values()) - 1) > 0.01 or min(masses.values()) < 0
    if off or len(probabilities) > len(masses):
        raise InvalidVerdict(f"verdict {name} is no distribution over its levels")
    return masses
