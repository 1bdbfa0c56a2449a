"""Rollouts with their prompts, and the running sums of steps and groups."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _columns(kind: Any, *names: str, nullable: bool = False) -> Iterator[sa.Column[Any]]:
    for name in names:
        yield sa.Column(name, kind, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "groups",
        *_columns(sa.String(256), "run"),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        *_columns(sa.String(512), "group_key"),
        *_columns(sa.Integer(), "rollouts", "rewarded", "failed"),
        *_columns(sa.Float(), "reward_sum", "last_at"),
        *_columns(sa.Float(), "reward_min", "reward_max", nullable=True),
        sa.PrimaryKeyConstraint("run", "step", "group_key"),
    )
    op.create_index("groups_by_age", "groups", ["last_at"])
    op.create_index("groups_by_spread", "groups", ["run", sa.text("(reward_max - reward_min)")])
    op.create_table(
        "prompts",
        *_columns(sa.LargeBinary(), "id"),
        *_columns(sa.Text(), "question"),
        *_columns(sa.LargeBinary(), "sources"),
        *_columns(sa.Float(), "last_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("prompts_by_age", "prompts", ["last_at"])
    _create_rollouts()
    op.create_table(
        "steps",
        *_columns(sa.String(256), "run"),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        *_columns(sa.Integer(), "rollouts", "rewarded", "refused", "failed", "judged", "cited"),
        *_columns(sa.Float(), "reward_sum", "reward_squares"),
        *_columns(sa.Float(), "reward_min", "reward_max", nullable=True),
        *_columns(sa.Float(), "rubric_sum", "f1_sum", "format_sum"),
        *_columns(sa.Integer(), "fabricated", "addressed"),
        *_columns(sa.Float(), "chars_sum", "chars_squares", "chars_reward", "first_at", "last_at"),
        sa.PrimaryKeyConstraint("run", "step"),
    )


def _create_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        *_columns(sa.String(256), "run"),
        *_columns(sa.BigInteger(), "step"),
        *_columns(sa.String(512), "group_key", "sample_id"),
        *_columns(sa.LargeBinary(), "once", nullable=True),
        *_columns(sa.LargeBinary(), "prompt_id"),
        *_columns(sa.String(64), "rollout_hash"),
        *_columns(sa.Float(), "at", "scale", "format_bonus", "latency_s"),
        *_columns(sa.Float(), "reward", "rubric_reward", "citation_f1", nullable=True),
        *_columns(sa.Integer(), "fabricated", "addressed", "chars"),
        *_columns(sa.String(32), "refusal", "failure", nullable=True),
        *_columns(sa.Boolean(), "cached"),
        *_columns(sa.String(256), "model"),
        *_columns(sa.LargeBinary(), "detail"),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("once"),
    )
    op.create_index("rollouts_by_age", "rollouts", ["at"])
    op.create_index("rollouts_by_citation", "rollouts", ["run", "citation_f1"])
    op.create_index("rollouts_by_place", "rollouts", ["run", "step", "group_key"])
    op.create_index("rollouts_by_step", "rollouts", ["run", "step", "seq"])
    for name, condition in (
        ("rollouts_addressed", "addressed > 0"),
        ("rollouts_failed", "failure IS NOT NULL"),
    ):
        few = sa.text(condition)
        op.create_index(name, "rollouts", ["run", "seq"], sqlite_where=few, postgresql_where=few)
