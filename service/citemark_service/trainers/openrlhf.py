"""OpenRLHF: `POST /get_reward`, for all versions with a remote reward URL.

Texts and one label column are sent. New versions post each sample as a list of one, old ones a
whole batch; with several URLs some get empty lists. `query` is prompt and response in one text.
The client can neither mask a sample nor read null, takes only floats, and needs every key of
`extra_logs` for every sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from citemark_schemas import SIGNALS, continuation, metrics_of
from citemark_service.examples import ENVELOPE_TEXT, RESPONSE
from citemark_service.trainers.faults import json_text_faults
from citemark_service.trainers.route import Body, Outcome, PostedRollout, Route, bad_body
from citemark_service.trainers.rows import MESSAGES, Row, chat_text
from citemark_service.trainers.trainer import Trainer


def parse_body(body: Body) -> list[PostedRollout]:
    queries = _texts_in(body, "query")
    prompts = _texts_in(body, "prompts") if queries else []
    labels = body.get("labels") or [None] * len(queries)
    if not isinstance(labels, list):
        labels = [labels]
    for name, values in (("prompts", prompts), ("labels", labels)):
        if len(values) != len(queries):
            raise bad_body(name, f"has {len(values)} items, and query {len(queries)}")
    rollouts: list[PostedRollout] = []
    for at, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True)):
        response = continuation(query, prompt)
        if response is None:
            message = f"does not begin with prompts[{at}], so that nobody can say what is response"
            raise bad_body(f"query[{at}]", message)
        rollouts.append(PostedRollout({f"labels[{at}]": label}, response, prompt))
    return rollouts


def _texts_in(body: Body, name: str) -> list[str]:
    """A field that is a list of texts or one text."""
    value = body.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise bad_body(name, "must be a list of strings")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise bad_body(f"{name}[{at}]", "must be a string")
    return texts


def write_answer(outcomes: Sequence[Outcome], _: Body) -> dict[str, Any]:
    rewards = [outcome.reward for outcome in outcomes]
    metrics = [metrics_of(outcome.result) for outcome in outcomes]
    logs = {name: [each[name] for each in metrics] for name in SIGNALS}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


def make_posts(row: Row, response: str) -> Mapping[str, Body]:
    prompt = chat_text(row.get("prompt"))
    query = f"{prompt}{response}<|im_end|>"
    body = {"query": [query], "prompts": [prompt], "labels": [row.get("label") or ""]}
    return {"/get_reward": body}


def read_reward(answer: Any) -> float | None:
    (reward,) = answer["rewards"]
    (failed,) = answer["extra_logs"]["judge_failed"]
    return None if failed else float(reward)


_PROMPT: Final = (
    "<|im_start|>user\nHow long does the crossing take?<|im_end|>\n<|im_start|>assistant\n"
)

OPENRLHF: Final = Trainer(
    name="openrlhf",
    title="OpenRLHF",
    carries="label, as JSON text",
    flags="--data.input_key prompt --data.apply_chat_template --data.label_key label",
    columns={"prompt": MESSAGES, "label": str},
    text_at="label",
    faults=lambda row: json_text_faults(
        row.get("label"),
        "label",
        "rows whose labels have different keys are filled up with nulls, or do not load",
    ),
    routes=(
        Route(
            name="openrlhf",
            path="/get_reward",
            client="OpenRLHF",
            read=parse_body,
            write=write_answer,
            deadline_s=165.0,  # the client gives up after 180 s
            request={
                "query": [f"{_PROMPT}{RESPONSE}<|im_end|>"],
                "prompts": [_PROMPT],
                "labels": [ENVELOPE_TEXT],
            },
            doc="`--reward.remote_url http://HOST:8000/get_reward --data.label_key label`, where "
            "the label is the row's envelope as an object or a JSON string.",
        ),
    ),
    posts=make_posts,
    reward=read_reward,
)
