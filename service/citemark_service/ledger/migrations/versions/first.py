"""Rollouts with their prompts, and the running sums of steps and groups."""

import sqlalchemy as sa
from alembic import op

from citemark_service.ledger.tables import SERIAL, columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "groups",
        *columns(sa.String(256), "run"),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        *columns(sa.String(512), "group_key"),
        *columns(sa.Integer(), "rollouts", "rewarded", "failed"),
        *columns(sa.Float(), "reward_sum", "last_at"),
        *columns(sa.Float(), "reward_min", "reward_max", nullable=True),
        sa.PrimaryKeyConstraint("run", "step", "group_key"),
    )
    op.create_index("groups_by_age", "groups", ["last_at"])
    op.create_index("groups_by_spread", "groups", ["run", sa.text("(reward_max - reward_min)")])
    op.create_table(
        "prompts",
        *columns(sa.LargeBinary(), "id"),
        *columns(sa.Text(), "question"),
        *columns(sa.LargeBinary(), "sources"),
        *columns(sa.Float(), "last_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("prompts_by_age", "prompts", ["last_at"])
    _create_rollouts()
    op.create_table(
        "steps",
        *columns(sa.String(256), "run"),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        *columns(sa.Integer(), "rollouts", "rewarded", "refused", "failed", "judged", "cited"),
        *columns(sa.Float(), "reward_sum", "reward_squares"),
        *columns(sa.Float(), "reward_min", "reward_max", nullable=True),
        *columns(sa.Float(), "rubric_sum", "f1_sum", "format_sum"),
        *columns(sa.Integer(), "fabricated", "addressed"),
        *columns(sa.Float(), "chars_sum", "chars_squares", "chars_reward", "first_at", "last_at"),
        sa.PrimaryKeyConstraint("run", "step"),
    )


def _create_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("seq", SERIAL, autoincrement=True, nullable=False),
        *columns(sa.String(256), "run"),
        *columns(sa.BigInteger(), "step"),
        *columns(sa.String(512), "group_key", "sample_id"),
        *columns(sa.LargeBinary(), "once", nullable=True),
        *columns(sa.LargeBinary(), "prompt_id"),
        *columns(sa.String(64), "rollout_hash"),
        *columns(sa.Float(), "at", "scale", "format_bonus", "latency_s"),
        *columns(sa.Float(), "reward", "rubric_reward", "citation_f1", nullable=True),
        *columns(sa.Integer(), "fabricated", "addressed", "chars"),
        *columns(sa.String(32), "refusal", "failure", nullable=True),
        *columns(sa.Boolean(), "cached"),
        *columns(sa.String(256), "model"),
        *columns(sa.LargeBinary(), "detail"),
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
