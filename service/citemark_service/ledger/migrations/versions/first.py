"""Rollouts with their prompts, and the running sums of steps and groups."""

from alembic import op

from citemark_service.ledger.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    # The next migration writes out here what the tables were before it: with this line a new
    # ledger would get its change twice, which fails.
    metadata.create_all(op.get_bind())
