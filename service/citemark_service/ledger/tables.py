"""The ledger's tables. `migrations/` makes them; a test holds the two together.

A rollout is one row of short columns to filter and sort by, and one compressed detail that holds
all the rest. What the samples of a prompt share stands once, in `prompts`. The curves of a run
come from `steps` and `groups`, which grow with every batch, so that no page counts rollouts.
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

_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER keys up


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
"""`sources` is compressed JSON, the rollout's `tool_output` and `snippets`; `id` hashes both."""

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
    *_columns(LargeBinary, "detail"),  # last: what stands behind a large value is slow to read
    Index("rollouts_by_place", "run", "step", "group_key"),
    Index("rollouts_by_step", "run", "step", "seq"),
    Index("rollouts_by_age", "at"),
    Index("rollouts_by_citation", "run", "citation_f1"),
)
"""`reward` is over `scale`, the verification reward, so that runs compare; `at` is Unix time.
`once` is None, or what a client that posts a sample of a step again posts again."""

# Few rollouts are in these, so that they cost the others nothing.
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
"""One step of one run: counts and sums. `judged` have a rubric reward, `cited` a citation F1;
`chars_squares` and `chars_reward` are of the rewarded, for the correlation with length."""

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
"""The samples of one prompt in one step."""

Index("groups_by_spread", groups.c.run, groups.c.reward_max - groups.c.reward_min)
