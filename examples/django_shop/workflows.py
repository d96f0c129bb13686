"""What happens to an order. Celery closes Django's connections after each run, as after each task."""

from celeriac import Retry, step, workflow

from .models import Order


@step(retry=Retry(max_attempts=5))
def charge(order_id: int) -> str:
    """The outside world: a real provider gets the order's id as its idempotency key, for this may run twice."""
    return f"receipt-{order_id}"


@step
def mark(order_id: int, status: str) -> None:
    Order.objects.filter(id=order_id).update(status=status)


@workflow(name="fulfil-order")
def fulfil_order(order_id: int) -> str:
    receipt = charge(order_id)
    mark(order_id, "paid")
    return receipt
