"""An order is placed: it and its run are there together, or neither is."""

from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Order
from .workflows import fulfil_order


@csrf_exempt  # for curl; a form of your own keeps the token
def place_order(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        order = Order.objects.create(customer=request.POST["customer"])
        run = fulfil_order.apply_async((order.id,), session=connection)
        order.run = run.id
        order.save(update_fields=["run"])
        if not order.customer:
            raise ValueError("an order needs a customer")  # rolls back both
    return JsonResponse({"order": order.id, "run": run.id}, status=202)


def show_order(request: HttpRequest, order_id: int) -> JsonResponse:
    return JsonResponse({"order": order_id, "status": Order.objects.get(id=order_id).status})
