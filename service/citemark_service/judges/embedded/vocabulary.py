"""Closed word lists of the embedded judge: which words say little, and which speak of form."""

from citemark_service.judges.embedded.lexical import listed, stemmed


def stems(text: str) -> frozenset[str]:
    """The stems of a list of plain words."""
    return frozenset(map(stemmed, listed(text)))


GENERIC = stems(
    """use make include show well good best better people way ways time thing things help like year
    first last new part work call know see need find often result important main common usual
    person place give take get become tell list want possible case mean cause kind type happen
    common different difference really still least definitely likely already given general
    several various hope let please thank feel free"""
)
"""Words that fit any subject: they count half."""

ABOUT_TEXT = stems(
    """source sources text passage passages document information article content contain contains
    provide provided mention mentions discuss discusses page answer answers question following
    snippet snippets context material topic subject detail details data response describe
    describes state states statement claim claims report refer relevant search fact facts factual
    factually summary summarise summarize finding findings explain explains note overview tool
    output evidence reference below above available"""
)
"""Words about texts and answers: a sentence of these alone says nothing of the world."""
