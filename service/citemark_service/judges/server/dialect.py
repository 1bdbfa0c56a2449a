"""Which optional fields of a request a server takes: by the settings, then by its refusals."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Final, get_args

from citemark_service.errors import JudgeRejected
from citemark_service.judges.chat import ChatRequest
from citemark_service.settings import OptionalField

_TAUGHT_BY: Final = (400, 403, 404, 422)
_FIELD: Final = re.compile(
    rf"\b(top_logprobs|{'|'.join(get_args(OptionalField))})\b", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"\b\d{1,2}\b")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is left out of requests; `top_logprobs` is the most that may be asked for."""

    omits: frozenset[str] = frozenset()
    top_logprobs: int = 64

    def fit(self, request: ChatRequest) -> ChatRequest:
        top = 0 if "logprobs" in self.omits else min(request.top_logprobs, self.top_logprobs)
        if not self.omits and top == request.top_logprobs:
            return request
        return dataclasses.replace(request, omits=self.omits, top_logprobs=top)

    def learn(self, refusal: JudgeRejected, sent: ChatRequest) -> "Dialect | None":
        """The dialect without what `refusal` of `sent` names; None where that changes nothing.

        A limit on alternatives, as "must be at most 5", is kept to instead.
        """
        if refusal.status not in _TAUGHT_BY:
            return None
        words = str(refusal)
        named = {name.lower() for name in _FIELD.findall(words)}
        top = self.top_logprobs
        if named & {"logprobs", "top_logprobs"} and sent.top_logprobs:
            lower = [int(n) for n in _NUMBER.findall(words) if 0 < int(n) < sent.top_logprobs]
            top = max(lower, default=0)
            named = named - {"logprobs"} if top else named | {"logprobs"}
        learnt = Dialect(self.omits | named - {"top_logprobs"}, top)
        return None if learnt == self else learnt

    def __str__(self) -> str:
        limit = [f"top_logprobs above {self.top_logprobs}"] if self.top_logprobs < 64 else []
        return ", ".join([*sorted(self.omits), *limit])
