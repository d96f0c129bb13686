"""`make demo`: the main job, told step by step. Real servers, real processes, and a kill -9 in the middle.

It starts `celeriac -A shop dev` on embedded servers in a temporary folder, and a CRM that fails now and then. Then it
is a client like any other: HTTP, and one look into Postgres to know what was checkpointed when the worker died.
"""

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from crm import Crm
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.tree import Tree

HERE = Path(__file__).parent
SECRET = "It's a Secret to Everybody"
IN_THE_MIDDLE = """
    select count(*) from celeriac.runs as r where status = 'running' and exists (
        select from celeriac.steps as s where s.run_id = r.id and s.key = 'upsert_customer')
"""
TICKED = """
    select output, metadata ->> 'scheduled_for' from celeriac.runs where source = 'schedule' and status = 'completed'
"""
READY_SECONDS = 90
FINISH_SECONDS = 180

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


class Shop:
    """`celeriac -A shop dev` in a process of its own, and the HTTP calls of a client."""

    def __init__(self, data_dir: Path, crm_url: str):
        self.data_dir = data_dir
        self.log = (data_dir / "dev.log").open("wb")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "celeriac.deploy", "-A", "shop", "dev", "--port", str(port)]
        self.process = subprocess.Popen(
            [*command, "--concurrency", "4", "--data-dir", str(data_dir)],
            cwd=HERE,
            env=os.environ | {"CRM_URL": crm_url, "GITHUB_SECRET": SECRET},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What `dev` says of itself: addresses and pids."""
        facts: dict[str, Any] = json.loads((self.data_dir / "dev.json").read_text())
        return facts

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.call("GET", "/readyz")[0] == 200 and self.call("GET", "/api/v1/workers")[1]["workers"]:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.1)
        raise SystemExit(f"the shop did not start:\n{(self.data_dir / 'dev.log').read_text()[-4000:]}")

    def call(self, method: str, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
        body = document if isinstance(document, bytes) else json.dumps(document).encode() if document else None
        request = urllib.request.Request(f"{self.facts['api']}{path}", body, method=method)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.facts["database_url"])
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="celeriac-demo-") as folder:
        crm = Crm(HERE / "data" / "customers.json")
        tell(1, "Starting Postgres, Redis, a worker, beat and the API, all on this machine, all real")
        shop = Shop(Path(folder), crm.url)
        try:
            shop.wait_until_ready()
            console.print(f"   the page and the API: {shop.facts['api']}")
            shop.query("create table customers (id text primary key, name text, email text, city text)")
            runs = start_batch(shop, crm)
            checkpointed = watch_and_kill(shop, len(runs))
            prove(shop, crm, runs, checkpointed)
            try_webhooks(shop)
            wait_for_cron(shop)
            show_one_run(shop, checkpointed)
            totals(shop, crm, began)
        finally:
            shop.stop()
            crm.close()
    console.print("\n[bold green]Done.[/] Everything is stopped and cleaned up.")


def start_batch(shop: Shop, crm: Crm) -> list[str]:
    tell(2, f"Triggering sync-customer-data over HTTP, for {len(crm.customers)} customers of data/customers.json")
    payloads = [{"customer_id": customer_id} for customer_id in crm.customers]
    status, answer = shop.call("POST", "/api/v1/workflows/sync-customer-data/batch", {"payloads": payloads})
    require(status == 202, f"the batch was refused: {answer}")
    console.print(f"   202: {len(answer['runs'])} rows are committed; ten at once may run (concurrency=10)")
    return [run["id"] for run in answer["runs"]]


def watch_and_kill(shop: Shop, total: int) -> set[tuple[str, str]]:
    """Shows the progress, kills the worker in the middle, and returns the checkpoints that were there then."""
    tell(3, "Steps fetch from a CRM that answers 503 now and then, normalize, upsert, and start a welcome e-mail")
    checkpointed: set[tuple[str, str]] = set()
    deadline = time.monotonic() + FINISH_SECONDS
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        synced = progress.add_task("customers synced", total=total)
        mailed = progress.add_task("welcome e-mails ", total=total)
        while not progress.finished:
            done = dict(
                shop.query("select workflow, count(*) from celeriac.runs where status = 'completed' group by 1")
            )
            progress.update(synced, completed=done.get("sync-customer-data", 0))
            progress.update(mailed, completed=done.get("send-welcome-email", 0))
            is_time = done.get("sync-customer-data", 0) >= total // 3 and shop.query(IN_THE_MIDDLE)[0][0]
            if not checkpointed and is_time:
                checkpointed = kill_worker(shop, progress)
            require(time.monotonic() < deadline, f"not finished within {FINISH_SECONDS} s: {done}")
            time.sleep(0.1)
    return checkpointed


def kill_worker(shop: Shop, progress: Progress) -> set[tuple[str, str]]:
    pid = shop.facts["pids"]["worker"]
    os.kill(pid, signal.SIGKILL)
    died = time.monotonic()
    rows = shop.query("select run_id::text, key from celeriac.steps where status = 'completed'")
    [(held,)] = shop.query("select count(*) from celeriac.runs where status = 'running'")
    progress.console.print(
        f"   [bold red]kill -9 {pid}[/], the worker process, with {held} runs in the middle of a step"
    )
    while shop.query("select count(*) from celeriac.runs where status = 'running' and crashes = 0")[0][0]:
        time.sleep(0.02)
    seconds = time.monotonic() - died
    progress.console.print(
        f"   its session lock in Postgres fell, and its runs were queued again {seconds:.1f} s after; "
        "dev starts a new worker"
    )
    return {(run_id, key) for run_id, key in rows}


def prove(shop: Shop, crm: Crm, runs: list[str], checkpointed: set[tuple[str, str]]) -> None:
    tell(4, "What the CRM's journal says")
    fetches = {customer: crm.answered("GET", f"/customers/{customer}") for customer in crm.customers}
    finished = dict(
        shop.query(
            "select payload ->> 'customer_id', id::text from celeriac.runs where payload ->> 'customer_id' is not null"
        )
    )
    confirmed = {customer: crm.answered("POST", f"/synced {customer}") for customer in crm.customers}
    for customer in crm.customers:
        for step, calls in (("fetch_customer", fetches), ("confirm_sync", confirmed)):
            if (finished[customer], step) in checkpointed:
                require(calls[customer] == 1, f"{step} of {customer} was repeated after it was checkpointed")
    again = [customer for calls in (fetches, confirmed) for customer, count in calls.items() if count > 1]
    safe = sum(key in ("fetch_customer", "confirm_sync") for _, key in checkpointed)
    console.print(f"   {safe} calls had been checkpointed when the worker died: each was made [bold]once[/] in all")
    console.print(f"   calls repeated, because they were under way when it died: {', '.join(again) or 'none'}")
    statuses = Counter(call.status for call in crm.journal)
    console.print(
        f"   the CRM answered {statuses[200]} calls, and refused {statuses[503]} with a 503, which were retried"
    )
    [(customers,)] = shop.query("select count(*) from customers")
    require(customers == len(crm.customers), f"{customers} customers in the table")
    [(mails,)] = shop.query("select count(*) from celeriac.runs where workflow = 'send-welcome-email'")
    require(mails == len(runs), f"{mails} welcome e-mails for {len(runs)} customers")
    console.print(
        f"   {customers} customers in the table, {mails} child runs: one e-mail for each, however often replayed"
    )


def try_webhooks(shop: Shop) -> None:
    tell(5, "A webhook with a valid GitHub signature, the same again, and one with a wrong signature")
    body = json.dumps({"customer_id": "c007"}).encode()
    good = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X_GitHub_Event": "push", "X_GitHub_Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}
    first = shop.call("POST", "/hooks/github", body, **headers, X_Hub_Signature_256=good)
    again = shop.call("POST", "/hooks/github", body, **headers, X_Hub_Signature_256=good)
    wrong = shop.call("POST", "/hooks/github", body, **headers, X_Hub_Signature_256="sha256=" + "0" * 64)
    require(first[0] == 202 and again[0] == 200 and wrong[0] == 401, f"webhooks answered {first}, {again}, {wrong}")
    console.print(f"   {first[0]} stored, then answered; {again[0]} a duplicate, no second run; {wrong[0]} refused")
    deadline = time.monotonic() + FINISH_SECONDS
    while shop.query("select count(*) from celeriac.runs where source = 'webhook' and status = 'completed'") != [(1,)]:
        require(time.monotonic() < deadline, "the webhook's run did not complete")
        time.sleep(0.1)
    console.print("   its run has completed")


def wait_for_cron(shop: Shop) -> None:
    remaining = 60 - datetime.now(UTC).second
    tell(6, f"The schedule '* * * * *' of report-customers (at most {remaining} s until it ticks)")
    deadline = time.monotonic() + 90
    with console.status("   waiting for the minute"):
        while not (rows := shop.query(TICKED)):
            require(time.monotonic() < deadline, "the schedule did not tick")
            time.sleep(0.2)
    console.print(f"   due at {rows[0][1]}, started once, and reported {rows[0][0]}")


def show_one_run(shop: Shop, checkpointed: set[tuple[str, str]]) -> None:
    tell(7, "One of the runs that lost their worker")
    rows = shop.query(
        "select id::text from celeriac.runs where crashes > 0 and workflow = 'sync-customer-data' order by id"
    )
    ids = [row[0] for row in rows]
    kept_by_run = Counter(run_id for run_id, _ in checkpointed)
    chosen = next((run_id for run_id in ids if 0 < kept_by_run[run_id] < 5), ids[0])
    run_id = "run_" + chosen.replace("-", "")
    run = shop.call("GET", f"/api/v1/runs/{run_id}")[1]
    steps = shop.call("GET", f"/api/v1/runs/{run_id}/steps")[1]["steps"]
    history = shop.call("GET", f"/api/v1/runs/{run_id}/history")[1]["history"]
    tree = Tree(f"[bold]{run['workflow']}[/] {run['payload']}  [green]{run['status']}[/]  attempt {run['attempt']}")
    moves = tree.add("moves")
    for move in history:
        moves.add(f"{move['at'][11:23]}  {move['to_status']:<10} {move['cause']}")
    branch = tree.add("steps")
    for step in steps:
        kept = step["epoch"] < run["epoch"]  # an earlier execution wrote it
        how = "[cyan]replayed from its checkpoint[/]" if kept else "executed after the worker died"
        took = f"{step['duration_ms']} ms, attempt {step['attempt']}"
        branch.add(f"{step['key']:<20} {step['kind']:<6} {step['status']}  {took}, {how}")
    console.print(tree)


def totals(shop: Shop, crm: Crm, began: float) -> None:
    tell(8, "Totals")
    deadline = time.monotonic() + FINISH_SECONDS
    while shop.query("select 1 from celeriac.runs where finished_at is null limit 1"):
        require(time.monotonic() < deadline, "a run did not end")
        time.sleep(0.1)
    for workflow, status, count in shop.query(
        "select workflow, status, count(*) from celeriac.runs group by 1, 2 order by 1"
    ):
        console.print(f"   {workflow:<20} {status:<10} {count}")
    [(steps,)] = shop.query("select count(*) from celeriac.steps where status = 'completed'")
    console.print(
        f"   {steps} checkpoints, {len(crm.journal)} calls to the CRM, {time.monotonic() - began:.0f} s in all"
    )
    require(not shop.query("select 1 from celeriac.runs where status not in ('completed')"), "a run did not complete")


def tell(number: int, what: str) -> None:
    console.print(f"\n[bold]{number}  {what}[/]")


def require(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"The demo failed: {what}")


if __name__ == "__main__":
    main()
