"""Criteria that ask for content: whether the answer says what the criterion names. Pure."""

import re
from dataclasses import replace

from citemark_service.judges.embedded.aspects import Finding
from citemark_service.judges.embedded.support import Terms, read_terms, support
from citemark_service.judges.embedded.survey import Survey, Unit
from citemark_service.judges.embedded.vocabulary import ABOUT_TEXT

# "Fails to mention X", "does not state X", "omits X": the criterion is about X's absence.
_ABSENCE = re.compile(
    r"\b(?:does(?:\s+not|n['’]t)|fail(?:s|ed)?\s+to|omit(?:s|ted)?|lacks?|never|avoids?)\b",
    re.IGNORECASE,
)
# Such words open a criterion; further on they belong to what it names.
_OPENING_CHARS = 60


def _named(description: str, *, absent: bool) -> Terms:
    """What the criterion names, without its words about answers ("the answer states that")."""
    terms = read_terms(description)
    weights = {stem: weight for stem, weight in terms.weights.items() if stem not in ABOUT_TEXT}
    if not weights:
        return terms
    return replace(
        terms,
        weights=weights,
        pairs=tuple(pair for pair in terms.pairs if set(pair) <= weights.keys()),
        names=terms.names & weights.keys(),
        negated=terms.negated and not absent,
    )


def _closest(terms: Terms, units: tuple[Unit, ...]) -> str | None:
    scores = [support(terms, [unit.passage]) for unit in units]
    best = max(range(len(units)), key=lambda place: (scores[place], -place))
    return units[best].quote if scores[best] > 0 else None


def mention(description: str, survey: Survey) -> Finding:
    """How far the answer says what the description names, or leaves it out where it asks that."""
    absent = _ABSENCE.search(description[:_OPENING_CHARS]) is not None
    terms = _named(description, absent=absent)
    present = support(terms, [survey.whole])
    if absent:
        return Finding(1.0 - present, None)
    return Finding(present, _closest(terms, survey.units))
