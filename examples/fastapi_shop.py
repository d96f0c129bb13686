"""A FastAPI app whose orders are fulfilled by durable runs, without blocking its event loop.

    celeriac -A fastapi_shop dev
    fastapi dev fastapi_shop.py             # with CELERIAC_DATABASE_URL and CELERY_BROKER_URL of the same servers
    curl -X POST localhost:8000/orders -H 'Content-Type: application/json' \\
        -d '{"customer": "ada", "parcels": ["a", "b"]}'

To start a run is a statement of Postgres and a call to Redis, a millisecond or two, and blocks: in an `async def`
endpoint a thread does it (`asyncio.to_thread`). A plain `def` endpoint is run in a thread by FastAPI itself.
The workflow is `async def` as well, and packs the parcels side by side.
"""

import asyncio
from typing import Any

from celery import Celery
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from celeriac import Celeriac, step, workflow
from celeriac.workflows.errors import RunError

app = Celery("fastapi_shop")
durable = Celeriac(app)
shop = FastAPI()

RESULT_SECONDS = 20.0  # that a client is kept waiting for a result


class Order(BaseModel):
    customer: str
    parcels: list[str]


@step
async def pack(parcel: str) -> str:
    """The outside world, by an async client."""
    return f"{parcel}, packed"


@step
async def label(parcel: str, customer: str) -> str:
    return f"{parcel}, for {customer}"


@workflow(name="fulfil-order")
async def fulfil_order(order: Order) -> list[str]:
    async def one(parcel: str) -> str:
        return await label(await pack(parcel), order.customer)

    return await asyncio.gather(*(one(parcel) for parcel in order.parcels))


@shop.post("/orders", status_code=202)
async def place_order(order: Order) -> dict[str, str]:
    run = await asyncio.to_thread(fulfil_order.delay, order)
    return {"run": run.id}


@shop.get("/orders/{run_id}")
async def wait_for_order(run_id: str) -> dict[str, Any]:
    run = await asyncio.to_thread(durable.get, run_id)
    if run is None:
        raise HTTPException(404, f"there is no {run_id}")
    try:
        return {"parcels": await asyncio.to_thread(run.result, RESULT_SECONDS)}
    except TimeoutError as error:
        raise HTTPException(504, str(error)) from error
    except RunError as error:
        raise HTTPException(500, str(error)) from error
