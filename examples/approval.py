"""An expense waits for a person's yes: a token with an address to answer at, and a reminder when nobody does.

    celeriac -A approval dev
    curl -X POST localhost:8484/api/v1/workflows/approve-expense/trigger -H 'Content-Type: application/json' \
        -d '{"payload": {"expense_id": "e1", "amount": 120, "approver": "ada@example.org"}}'

The worker's log has the mail, with an address. Whoever has that may answer, without a key:

    curl -X POST http://localhost:8484/callbacks/tok_... -H 'Content-Type: application/json' -d '{"approved": true}'

While it waits it is a row: stop `dev`, start it again, and answer then. `REMIND_SECONDS=20 celeriac -A approval dev`
shows the reminders; after three mails without an answer the expense is declined.
"""

import os
from typing import Any

from celery import Celery

from celeriac import Celeriac, Retry, create_token, step, workflow

app = Celery("approval")
app.conf.celeriac_public_url = "http://localhost:8484"  # where others reach the API; CELERIAC_PUBLIC_URL wins
durable = Celeriac(app)

REMIND_SECONDS = float(os.environ.get("REMIND_SECONDS", "86400"))
MAILS = 3  # the first one, and two reminders


@step(retry=Retry(max_attempts=5))
def mail(to: str, subject: str, text: str) -> str:
    """The outside world: hand it to your mailer here."""
    print(f"To: {to}\nSubject: {subject}\n\n{text}")
    return subject


@step(retry=Retry(max_attempts=5))
def pay_out(expense_id: str, amount: float) -> str:
    """The outside world, too. A real bank gets the expense's id as its idempotency key, for this may run twice."""
    return f"payment-{expense_id}-{amount:.2f}"


def ask(approver: str, expense_id: str, amount: float) -> Any:
    """What the approver answered, None if nothing. A plain function of the workflow: its steps are those of the run."""
    for number in range(MAILS):
        token = create_token(timeout=REMIND_SECONDS)
        subject = f"Please approve {expense_id}" if number == 0 else f"Reminder {number}: please approve {expense_id}"
        mail(approver, subject, f"{amount:.2f}. Answer at {token.callback_url}")
        try:
            return token.wait()  # holds no worker, for as long as it takes
        except TimeoutError:
            continue  # recorded: that address answers no more, the next mail has one of its own
    return None


@workflow(name="approve-expense")
def approve_expense(expense_id: str, amount: float, approver: str) -> dict[str, Any]:
    answer = ask(approver, expense_id, amount)
    is_approved = isinstance(answer, dict) and answer.get("approved") is True  # anyone may have written it
    payment = pay_out(expense_id, amount) if is_approved else None
    return {"expense_id": expense_id, "approved": is_approved, "payment": payment}
