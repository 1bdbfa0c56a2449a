"""Rollouts with their prompts, and the running sums of steps and groups."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _groups()
    _prompts()
    _rollouts()
    _steps()


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("run", sa.String(length=256), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("group_key", sa.String(length=512), nullable=False),
        sa.Column("rollouts", sa.Integer(), nullable=False),
        sa.Column("rewarded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("reward_sum", sa.Float(), nullable=False),
        sa.Column("reward_min", sa.Float(), nullable=True),
        sa.Column("reward_max", sa.Float(), nullable=True),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run", "step", "group_key"),
    )
    op.create_index("groups_by_age", "groups", ["last_at"])
    op.create_index("groups_by_spread", "groups", ["run", sa.text("(reward_max - reward_min)")])


def _prompts() -> None:
    op.create_table(
        "prompts",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("sources", sa.LargeBinary(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("prompts_by_age", "prompts", ["last_at"])


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("run", sa.String(length=256), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("group_key", sa.String(length=512), nullable=False),
        sa.Column("sample_id", sa.String(length=512), nullable=False),
        sa.Column("once", sa.LargeBinary(), nullable=True),
        sa.Column("prompt_id", sa.LargeBinary(), nullable=False),
        sa.Column("rollout_hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("reward", sa.Float(), nullable=True),
        sa.Column("scale", sa.Float(), nullable=False),
        sa.Column("rubric_reward", sa.Float(), nullable=True),
        sa.Column("citation_f1", sa.Float(), nullable=True),
        sa.Column("format_bonus", sa.Float(), nullable=False),
        sa.Column("fabricated", sa.Integer(), nullable=False),
        sa.Column("addressed", sa.Integer(), nullable=False),
        sa.Column("chars", sa.Integer(), nullable=False),
        sa.Column("refusal", sa.String(length=32), nullable=True),
        sa.Column("failure", sa.String(length=32), nullable=True),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(length=256), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("once"),
    )
    op.create_index(
        "rollouts_addressed",
        "rollouts",
        ["run", "seq"],
        sqlite_where=sa.text("addressed > 0"),
        postgresql_where=sa.text("addressed > 0"),
    )
    op.create_index("rollouts_by_age", "rollouts", ["at"])
    op.create_index("rollouts_by_citation", "rollouts", ["run", "citation_f1"])
    op.create_index("rollouts_by_place", "rollouts", ["run", "step", "group_key"])
    op.create_index("rollouts_by_step", "rollouts", ["run", "step", "seq"])
    op.create_index(
        "rollouts_failed",
        "rollouts",
        ["run", "seq"],
        sqlite_where=sa.text("failure IS NOT NULL"),
        postgresql_where=sa.text("failure IS NOT NULL"),
    )


def _steps() -> None:
    op.create_table(
        "steps",
        sa.Column("run", sa.String(length=256), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rollouts", sa.Integer(), nullable=False),
        sa.Column("rewarded", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("cited", sa.Integer(), nullable=False),
        sa.Column("reward_sum", sa.Float(), nullable=False),
        sa.Column("reward_squares", sa.Float(), nullable=False),
        sa.Column("reward_min", sa.Float(), nullable=True),
        sa.Column("reward_max", sa.Float(), nullable=True),
        sa.Column("rubric_sum", sa.Float(), nullable=False),
        sa.Column("f1_sum", sa.Float(), nullable=False),
        sa.Column("format_sum", sa.Float(), nullable=False),
        sa.Column("fabricated", sa.Integer(), nullable=False),
        sa.Column("addressed", sa.Integer(), nullable=False),
        sa.Column("chars_sum", sa.Float(), nullable=False),
        sa.Column("chars_squares", sa.Float(), nullable=False),
        sa.Column("chars_reward", sa.Float(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run", "step"),
    )
