"""Writes of the shop's own that belong to a checkpoint."""

from typing import Any

from sqlalchemy import text

from celeriac import current_run, sleep, step, workflow

from .journal import note

INSERT = text("insert into ledger (run, account, amount) values (:run, :account, :amount)")


@step(transaction=True)
def debit(session: Any, account: str, amount: int) -> int:
    note(f"debit {account}")
    session.execute(INSERT, {"run": current_run().id, "account": account, "amount": amount})
    return amount


@step(transaction=True)
def debit_and_fail(session: Any) -> None:
    session.execute(INSERT, {"run": current_run().id, "account": "ada", "amount": 1})
    raise ValueError("no funds")


@workflow(name="transactions.pay")
def pay(amount: int) -> int:
    first = debit("ada", -amount)
    sleep(0.01)
    return debit("bob", amount) - first


@workflow(name="transactions.fails")
def fails() -> None:
    debit_and_fail()


@workflow(name="transactions.mail")
def mail(to: str) -> str:
    return to
