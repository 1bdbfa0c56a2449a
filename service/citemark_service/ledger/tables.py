"""The ledger's tables. `migrations/` creates them; a test compares the two.

A rollout is a row of short columns to filter and sort by, and a compressed `detail` with all the
rest. Samples of a prompt share a row of `prompts`. Curves are read from `steps` and `groups`,
which every batch updates, so that no page has to aggregate rollouts.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite increments only INTEGER keys


def _columns(kind: Any, *names: str, nullable: bool = False) -> Iterator[Column[Any]]:
    for name in names:
        yield Column(name, kind, nullable=nullable)


prompts = Table(
    "prompts",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("question", Text, nullable=False),
    Column("sources", LargeBinary, nullable=False),
    Column("last_at", Float, nullable=False),
    Index("prompts_by_age", "last_at"),
)
"""`sources`: compressed JSON of `tool_output` and `snippets`; `id`: see `rows.prompt_id`."""

rollouts = Table(
    "rollouts",
    metadata,
    Column("seq", _SERIAL, primary_key=True, autoincrement=True),
    *_columns(String(256), "run"),
    *_columns(BigInteger, "step"),
    *_columns(String(512), "group_key", "sample_id"),
    Column("once", LargeBinary, unique=True),
    *_columns(LargeBinary, "prompt_id"),
    *_columns(String(64), "rollout_hash"),
    *_columns(Float, "at", "scale", "format_bonus", "latency_s"),
    *_columns(Float, "reward", "rubric_reward", "citation_f1", nullable=True),
    *_columns(Integer, "fabricated", "addressed", "chars"),
    *_columns(String(32), "refusal", "failure", nullable=True),
    *_columns(Boolean, "cached"),
    *_columns(String(256), "model"),
    *_columns(LargeBinary, "detail"),  # last: columns behind a large value are slow to read
    Index("rollouts_by_place", "run", "step", "group_key"),
    Index("rollouts_by_step", "run", "step", "seq"),
    Index("rollouts_by_age", "at"),
    Index("rollouts_by_citation", "run", "citation_f1"),
)
"""`reward` is divided by `scale`, the verification reward, so that runs compare; `at` is Unix
time in seconds. `once` is equal for a sample and its re-post, see `rows`, or None."""

# Partial indexes: few rollouts are in them, so the others cost nothing to index.
for _name, _few in (
    ("rollouts_failed", rollouts.c.failure.is_not(None)),
    ("rollouts_addressed", rollouts.c.addressed > 0),
):
    Index(_name, rollouts.c.run, rollouts.c.seq, sqlite_where=_few, postgresql_where=_few)

steps = Table(
    "steps",
    metadata,
    Column("run", String(256), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    *_columns(Integer, "rollouts", "rewarded", "refused", "failed", "judged", "cited"),
    *_columns(Float, "reward_sum", "reward_squares"),
    *_columns(Float, "reward_min", "reward_max", nullable=True),
    *_columns(Float, "rubric_sum", "f1_sum", "format_sum"),
    *_columns(Integer, "fabricated", "addressed"),
    *_columns(Float, "chars_sum", "chars_squares", "chars_reward", "first_at", "last_at"),
)
"""Counts and sums of one step of one run. `judged` counts rubric rewards, `cited` citation F1s;
`chars_squares` and `chars_reward` are sums over rollouts with a reward, for the correlation of
reward and length."""

groups = Table(
    "groups",
    metadata,
    Column("run", String(256), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("group_key", String(512), primary_key=True),
    *_columns(Integer, "rollouts", "rewarded", "failed"),
    *_columns(Float, "reward_sum", "last_at"),
    *_columns(Float, "reward_min", "reward_max", nullable=True),
    Index("groups_by_age", "last_at"),
)
"""Counts and sums over the samples of one prompt in one step."""

Index("groups_by_spread", groups.c.run, groups.c.reward_max - groups.c.reward_min)
