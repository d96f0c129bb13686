"""Events, messages, tokens."""

from typing import Any

from celeriac import create_token, current_run, gather, receive, send_event, sleep, wait_for_event, workflow
from celeriac.workflows.errors import StepError

from .journal import held


@workflow(name="waits.paid")
def paid(order: str) -> Any:
    return wait_for_event("paid", where={"order": order})


@workflow(name="waits.later-line")
def later_line() -> list[int]:
    held("busy")
    topic = f"tick {current_run().id}"
    return [wait_for_event(topic)["n"], wait_for_event(topic)["n"]]


@workflow(name="waits.nothing-comes")
def nothing_comes() -> list[str]:
    seen = []
    try:
        wait_for_event("never", timeout=0.05)
    except TimeoutError as error:
        seen.append(type(error).__name__)
    sleep(0.01)
    return seen


@workflow(name="waits.sends")
def sends(topic: str) -> list[bool]:
    sent = [send_event(topic, {"n": 1}), send_event(topic, {"n": 2})]
    sleep(0.01)
    return sent


@workflow(name="waits.subscribed", on_event="signed-up")
def subscribed(name: str) -> str:
    return f"welcome, {name}"


@workflow(name="waits.inbox")
def inbox() -> list[Any]:
    held("busy")
    return [receive(), receive(), receive("other")]


@workflow(name="waits.no-message")
def no_message() -> str:
    try:
        return receive(timeout=0.05)
    except TimeoutError:
        return "none"


@workflow(name="waits.approval")
def approval(timeout: float | None = None) -> Any:
    token = create_token(timeout=timeout)
    current_run().metadata.set("token", token.id)
    current_run().metadata.set("url", token.callback_url)
    try:
        return token.wait()
    except TimeoutError:
        return "nobody answered"
    except StepError as error:
        return f"refused: {error}"


@workflow(name="waits.first-answer")
def first_answer() -> list[Any]:
    tokens = [create_token(name=f"judge-{n}") for n in range(3)]
    current_run().metadata.set("tokens", [token.id for token in tokens])
    return gather(*tokens, first=1)
