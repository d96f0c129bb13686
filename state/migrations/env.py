"""Alembic's entry: runs the migrations on the connection that `celeriac.state.migrate` opened and locked."""

from alembic import context

from celeriac.state.migrate import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table="migrations",
    version_table_schema=SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
