"""slime: `POST /rm`, one sample a request.

Over HTTP only the label of a row is sent; a reward function also gets `metadata`. The whole answer
becomes the sample's reward: an object of which `--reward-key reward` is used, or a number with
`?format=scalar`. The client can neither mask a sample nor read null.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from citemark_schemas import metrics_of
from citemark_service.examples import ENVELOPE_TEXT, QUESTION, RESPONSE
from citemark_service.trainers.faults import Fault, json_text_faults, warning
from citemark_service.trainers.route import Body, Outcome, PostedRollout, Route, text_in
from citemark_service.trainers.rows import MESSAGES, RUBRICS, Row
from citemark_service.trainers.trainer import Trainer


def parse_body(body: Body) -> list[PostedRollout]:
    places = {name: body.get(name) for name in ("label", "metadata")}
    return [PostedRollout(places, text_in(body, "response"), body.get("prompt"))]


def write_answer(outcomes: Sequence[Outcome], _: Body) -> dict[str, Any]:
    (outcome,) = outcomes
    return {"reward": outcome.reward, **metrics_of(outcome.result), "outcome": outcome.ending}


def find_faults(row: Row) -> Iterator[Fault]:
    metadata = row.get("metadata")
    if isinstance(metadata, Mapping) and metadata.keys() & {*RUBRICS}:
        yield warning(
            "metadata",
            "holds the rubrics; --rm-url sends the label alone",
            "use --custom-rm-path citemark_grpo.slime.rm, or convert the file",
        )
    else:
        why = "releases that read JSON lines with pandas make it Python's text of a dict"
        yield from json_text_faults(row.get("label"), "label", why)


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    body = {"prompt": row.get("prompt"), "response": response, "label": row.get("label")}
    return {"/rm": body}


SLIME: Final = Trainer(
    name="slime",
    title="slime",
    carries="label, as JSON text",
    flags="--input-key prompt --apply-chat-template --label-key label --reward-key reward",
    columns={"prompt": MESSAGES, "label": str},
    text_at="label",
    envelope_at=("metadata", "label"),
    faults=find_faults,
    one_type=False,
    routes=(
        Route(
            name="slime",
            path="/rm",
            client="slime",
            read=parse_body,
            write=write_answer,
            deadline_s=100.0,  # the client gives up after 120 s, waiting for a connection included
            scalar=True,
            request={"prompt": QUESTION, "response": RESPONSE, "label": ENVELOPE_TEXT},
            doc="`--rm-type remote_rm --rm-url http://HOST:8000/rm --reward-key reward "
            "--label-key label`, where the label is the row's envelope as an object or a JSON "
            "string; `--log-reward-category outcome` draws what became of the samples. With "
            "`?format=scalar` the answer is a bare number, and no reward key is given.",
        ),
    ),
    posts=make_posts,
    reward=lambda answer: None if answer["judge_failed"] else float(answer["reward"]),
)
