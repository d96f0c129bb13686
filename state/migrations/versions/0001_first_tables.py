"""Runs, steps and all that the main job stands on. What the tables mean is told in the .sql file beside this one."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text())


def downgrade() -> None:
    raise NotImplementedError("there is nothing before the first tables: drop the schema `celeriac` by hand")
