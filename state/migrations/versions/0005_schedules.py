"""Schedules made at run time, policies, outcomes of ticks, services of beat: told in the .sql file beside this one."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())


def downgrade() -> None:
    raise NotImplementedError("restore a backup, or migrate forward")
