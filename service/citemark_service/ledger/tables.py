"""The ledger's tables. `migrations/` creates them; a test compares the two.

A rollout is a row of short columns to filter and sort by, and a compressed `detail` with all the
rest. Samples of a prompt share a row of `prompts`. Curves are read from `steps` and `groups`,
which every batch updates, so that no page has to aggregate rollouts.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite increments only INTEGER keys


def columns(kind: Any, *names: str, nullable: bool = False) -> Iterator[sa.Column[Any]]:
    for name in names:
        yield sa.Column(name, kind, nullable=nullable)


prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("sources", sa.LargeBinary, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Index("prompts_by_age", "last_at"),
)
"""`sources`: compressed JSON of `tool_output` and `snippets`; `id`: see `rows.prompt_id`."""

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("seq", SERIAL, primary_key=True, autoincrement=True),
    *columns(sa.String(256), "run"),
    *columns(sa.BigInteger, "step"),
    *columns(sa.String(512), "group_key", "sample_id"),
    sa.Column("once", sa.LargeBinary, unique=True),
    *columns(sa.LargeBinary, "prompt_id"),
    *columns(sa.String(64), "rollout_hash"),
    *columns(sa.Float, "at", "scale", "format_bonus", "latency_s"),
    *columns(sa.Float, "reward", "rubric_reward", "citation_f1", nullable=True),
    *columns(sa.Integer, "fabricated", "addressed", "chars"),
    *columns(sa.String(32), "refusal", "failure", nullable=True),
    *columns(sa.Boolean, "cached"),
    *columns(sa.String(256), "model"),
    *columns(sa.LargeBinary, "detail"),  # last: columns behind a large value are slow to read
    sa.Index("rollouts_by_place", "run", "step", "group_key"),
    sa.Index("rollouts_by_step", "run", "step", "seq"),
    sa.Index("rollouts_by_age", "at"),
    sa.Index("rollouts_by_citation", "run", "citation_f1"),
)
"""`reward` is divided by `scale`, the verification reward, so that runs compare; `at` is Unix
time in seconds. `once` is equal for a sample and its re-post, see `rows`, or None."""

# Partial indexes: few rollouts are in them, so the others cost nothing to index.
for _name, _few in (
    ("rollouts_failed", rollouts.c.failure.is_not(None)),
    ("rollouts_addressed", rollouts.c.addressed > 0),
):
    sa.Index(_name, rollouts.c.run, rollouts.c.seq, sqlite_where=_few, postgresql_where=_few)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("run", sa.String(256), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    *columns(sa.Integer, "rollouts", "rewarded", "refused", "failed", "judged", "cited"),
    *columns(sa.Float, "reward_sum", "reward_squares"),
    *columns(sa.Float, "reward_min", "reward_max", nullable=True),
    *columns(sa.Float, "rubric_sum", "f1_sum", "format_sum"),
    *columns(sa.Integer, "fabricated", "addressed"),
    *columns(sa.Float, "chars_sum", "chars_squares", "chars_reward", "first_at", "last_at"),
)
"""Counts and sums of one step of one run. `judged` counts rubric rewards, `cited` citation F1s;
`chars_squares` and `chars_reward` are sums over rollouts with a reward, for the correlation of
reward and length."""

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("run", sa.String(256), primary_key=True),
    sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("group_key", sa.String(512), primary_key=True),
    *columns(sa.Integer, "rollouts", "rewarded", "failed"),
    *columns(sa.Float, "reward_sum", "last_at"),
    *columns(sa.Float, "reward_min", "reward_max", nullable=True),
    sa.Index("groups_by_age", "last_at"),
)
"""Counts and sums over the samples of one prompt in one step."""

sa.Index("groups_by_spread", groups.c.run, groups.c.reward_max - groups.c.reward_min)
