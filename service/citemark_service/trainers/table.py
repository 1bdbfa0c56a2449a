"""All trainers by name, and rows of unknown layout. A new trainer is a module, listed in `_ALL`."""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

from citemark_schemas import Rollout
from citemark_schemas.cells import object_in, value_at
from citemark_schemas.envelope import NESTED, rollout_of
from citemark_schemas.rows import ALIASES, CHATS, FAINT, SOURCES
from citemark_service.settings import Settings
from citemark_service.trainers.axolotl import AXOLOTL
from citemark_service.trainers.carr import CARR
from citemark_service.trainers.eval_protocol import EVAL_PROTOCOL
from citemark_service.trainers.nemo_gym import NEMO_GYM
from citemark_service.trainers.open_instruct import OPEN_INSTRUCT
from citemark_service.trainers.openrlhf import OPENRLHF
from citemark_service.trainers.route import Route
from citemark_service.trainers.rows import (
    FIELDS,
    JUDGED,
    MESSAGES,
    PromptTemplate,
    Row,
    Task,
    messages_of,
    unread_keys,
)
from citemark_service.trainers.skyrl import SKYRL
from citemark_service.trainers.slime import SLIME
from citemark_service.trainers.trainer import Trainer
from citemark_service.trainers.trl import TRL
from citemark_service.trainers.verifiers import VERIFIERS
from citemark_service.trainers.verl import VERL

_ALL: Final = (
    TRL,
    VERL,
    OPENRLHF,
    SLIME,
    NEMO_GYM,
    VERIFIERS,
    SKYRL,
    OPEN_INSTRUCT,
    CARR,
    EVAL_PROTOCOL,
    AXOLOTL,
)
CITEMARK: Final = Trainer(
    name="citemark",
    title="Citemark",
    carries="fields of the row",
    flags="a rollout for /v1/score, once it has a response",
    columns={**FIELDS, "messages": MESSAGES},
    prompt_at=("messages",),
    rest="row",
)
"""Citemark's own layout: the fields of a rollout without response, and the prompt as messages."""
TRAINERS: Final[Mapping[str, Trainer]] = {each.name: each for each in _ALL}
LAYOUTS: Final[Mapping[str, Trainer]] = {**TRAINERS, CITEMARK.name: CITEMARK}

_PLACES: Final = dict.fromkeys((
    *("label", "ground_truth", "reward_model.ground_truth", "reward_model", "answer", "tests"),
    *("info", "extra_info", "metadata.remote_env_info", "metadata", "verify_extra"),
    *(path for trainer in _ALL for path in trainer.paths),
))  # fmt: skip
"""Places of an envelope in any layout, after the row itself."""
_PROMPTS: Final = dict.fromkeys((
    *(*CHATS, "responses_create_params.input", "input_messages", "history"),
    *(trainer.prompt_at[0] for trainer in _ALL),
))  # fmt: skip
_NESTED: Final = frozenset({*NESTED, "remote_env_info", "verify_extra", "tests"})
_HEADS: Final = frozenset(path.partition(".")[0] for path in _PLACES)
PROMPT_HEADS: Final = frozenset(path.partition(".")[0] for path in _PROMPTS)
_OF_VERL: Final = frozenset({"style", "index"})  # what its loader reads beside the envelope
_DEEPEST: Final = 4
_READ: Final = frozenset({*FIELDS, *_HEADS, *PROMPT_HEADS, *ALIASES, "knobs"})
"""Columns that a rollout is read from, but for its response."""


def unread_in(row: Row, also: Set[str], fields: Row) -> Iterator[str]:
    """Dotted paths of what is not read: columns, and keys of what is read in them.

    `also` are columns that are read besides; `fields` is the row with what is mapped and without
    what gives way to that.
    """
    sourced = any(row.get(name) for name in (*SOURCES, "documents"))
    for name, value in row.items():
        if name in also or name in PROMPT_HEADS or value in (None, "", [], {}):
            continue
        if name in _NESTED:
            yield from _unread_inside(name, value, 0)
        elif (
            name not in _READ
            or (name in FAINT and sourced)
            or (ALIASES.get(name) == "id" and row.get("id") not in (None, "", value))
        ):
            yield name
        else:
            yield from unread_keys(name, value)
    read = messages_of(prompt_anywhere(fields))
    chats = ((path, messages_of(value_at(row, path))) for path in _PROMPTS if path not in also)
    yield from (path for path, chat in chats if chat not in (None, read))


def _unread_inside(path: str, value: object, depth: int) -> Iterator[str]:
    held = object_in(value)
    if held is None or depth > _DEEPEST:
        if value not in (None, "", [], {}):
            yield path
        return
    for name, inner in held.items():
        if name in _NESTED:
            yield from _unread_inside(f"{path}.{name}", inner, depth + 1)
        elif name in _READ:
            yield from unread_keys(f"{path}.{name}", inner)
        elif name not in _OF_VERL and inner not in (None, ""):
            yield f"{path}.{name}"


def served_routes(settings: Settings) -> tuple[Route, ...]:
    """All routes but those that the settings leave off."""
    routes = (route for trainer in _ALL for route in trainer.routes)
    return tuple(
        route for route in routes if route.setting is None or getattr(settings, route.setting)
    )


def rollout_anywhere(
    row: Row,
    ignored: Set[str] = frozenset(),
    *,
    response: str = "",
    tool_output: str | None = None,
    chosen: Set[str] = frozenset(),
    sources_needed: bool = True,
) -> Rollout:
    """As `Trainer.read_rollout`, but looks at the places of all trainers, which have to agree.

    `chosen` are fields of which the row's own counts, whatever stands elsewhere; the others are
    those of `rollout_of`.
    """
    values = {path: value_at(row, path) for path in _PLACES}
    places = {path: value for path, value in values.items() if value is not None}
    rest = {name: value for name, value in row.items() if name not in _HEADS}
    return rollout_of(
        {"row": rest, **places},
        response=response,
        prompt=prompt_anywhere(row),
        tool_output=tool_output,
        ignored_rubric_keys=ignored,
        agreeing=JUDGED - chosen,
        sources_needed=sources_needed,
    )


def prompt_anywhere(row: Row) -> object:
    """The value of the first place of a prompt that has one, or None."""
    values = (value_at(row, path) for path in _PROMPTS)
    return next((value for value in values if messages_of(value) is not None), None)


def task_of(
    row: Row,
    trainer: Trainer | None,
    template: PromptTemplate,
    ignored: Set[str] = frozenset(),
    **reading: Any,
) -> Task:
    """The task of a row; `trainer` is None where its layout is unknown.

    `reading` is for `rollout_anywhere`. Raises `EnvelopeError` as `Trainer.read_rollout`, and
    `ValueError` if the template fails.
    """
    if trainer is None:
        own, rollout = prompt_anywhere(row), rollout_anywhere(row, ignored, **reading)
    else:
        own, rollout = trainer.prompt(row), trainer.read_rollout(row, ignored)
    prompt = None if template.replaces else messages_of(own)
    return Task(rollout, prompt or template.messages(rollout, row))
