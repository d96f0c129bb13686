"""Brings the tables up to date. Ten processes may start at once: an advisory lock lets one migrate, the others wait."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from .database import Database, Transaction

SCHEMA = "celeriac"
MIGRATION_LOCK = 0x63656C65  # "cele"


def migrate(database: Database) -> str:
    """Upgrades to the newest revision, in one transaction, and returns its name. Safe to repeat."""
    with database.transaction() as transaction:
        transaction.all("select pg_advisory_xact_lock(%(key)s)", key=MIGRATION_LOCK)
        transaction.all(f"create schema if not exists {SCHEMA}")
        config = _config()
        config.attributes["connection"] = transaction.connection
        command.upgrade(config, "head")
        return _current(transaction)


def pending(database: Database) -> bool:
    """Whether the database is behind the code. True for an empty database."""
    with database.transaction() as transaction:
        return _current(transaction) != ScriptDirectory.from_config(_config()).get_current_head()


def _current(transaction: Transaction) -> str:
    options = {"version_table": "migrations", "version_table_schema": SCHEMA}
    return MigrationContext.configure(transaction.connection, opts=options).get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
