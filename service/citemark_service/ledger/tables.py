"""The ledger's tables. `migrations/` makes them; a test holds the two together.

A rollout is one row of short columns to filter and sort by, and one compressed detail that holds
all the rest. What the samples of a prompt share stands once, in `prompts`. The curves of a run
come from `steps` and `groups`, which grow with every batch, so that no page counts rollouts.
"""

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
    Column("run", String(256), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("group_key", String(512), nullable=False),
    Column("sample_id", String(512), nullable=False),
    Column("once", LargeBinary, unique=True),
    Column("prompt_id", LargeBinary, nullable=False),
    Column("rollout_hash", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("reward", Float),
    Column("scale", Float, nullable=False),
    Column("rubric_reward", Float),
    Column("citation_f1", Float),
    Column("format_bonus", Float, nullable=False),
    Column("fabricated", Integer, nullable=False),
    Column("addressed", Integer, nullable=False),
    Column("chars", Integer, nullable=False),
    Column("refusal", String(32)),
    Column("failure", String(32)),
    Column("cached", Boolean, nullable=False),
    Column("model", String(256), nullable=False),
    Column("latency_s", Float, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Index("rollouts_by_place", "run", "step", "group_key"),
    Index("rollouts_by_step", "run", "step", "seq"),
    Index("rollouts_by_age", "at"),
    Index("rollouts_by_citation", "run", "citation_f1"),
)
"""`reward` is over `scale`, the verification reward, so that runs compare; `at` is Unix time.
`once` is None, or what a client that posts a sample of a step again posts again."""

# Few rollouts are in these, so that they cost the others nothing.
Index(
    "rollouts_failed",
    rollouts.c.run,
    rollouts.c.seq,
    sqlite_where=rollouts.c.failure.is_not(None),
    postgresql_where=rollouts.c.failure.is_not(None),
)
Index(
    "rollouts_addressed",
    rollouts.c.run,
    rollouts.c.seq,
    sqlite_where=rollouts.c.addressed > 0,
    postgresql_where=rollouts.c.addressed > 0,
)

steps = Table(
    "steps",
    metadata,
    Column("run", String(256), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("rollouts", Integer, nullable=False),
    Column("rewarded", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("judged", Integer, nullable=False),
    Column("cited", Integer, nullable=False),
    Column("reward_sum", Float, nullable=False),
    Column("reward_squares", Float, nullable=False),
    Column("reward_min", Float),
    Column("reward_max", Float),
    Column("rubric_sum", Float, nullable=False),
    Column("f1_sum", Float, nullable=False),
    Column("format_sum", Float, nullable=False),
    Column("fabricated", Integer, nullable=False),
    Column("addressed", Integer, nullable=False),
    Column("chars_sum", Float, nullable=False),
    Column("chars_squares", Float, nullable=False),
    Column("chars_reward", Float, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
)
"""One step of one run: counts and sums. `judged` have a rubric reward, `cited` a citation F1;
`chars_squares` and `chars_reward` are of the rewarded, for the correlation with length."""

groups = Table(
    "groups",
    metadata,
    Column("run", String(256), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("group_key", String(512), primary_key=True),
    Column("rollouts", Integer, nullable=False),
    Column("rewarded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("reward_sum", Float, nullable=False),
    Column("reward_min", Float),
    Column("reward_max", Float),
    Column("last_at", Float, nullable=False),
    Index("groups_by_age", "last_at"),
)
"""The samples of one prompt in one step."""

Index("groups_by_spread", groups.c.run, groups.c.reward_max - groups.c.reward_min)
