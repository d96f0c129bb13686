"""An agent: a model plans, tools run side by side, a person is asked, until the model has an answer.

    celeriac -A agent_loop dev
    curl -X POST localhost:8484/api/v1/workflows/plan-picnic/trigger -H 'Content-Type: application/json' \
        -d '{"payload": {"city": "Oslo"}}'

It looks two things up at once, and then waits for you: its page shows the question. Answer it:

    curl -X POST localhost:8484/api/v1/runs/run_.../messages -H 'Content-Type: application/json' \
        -d '{"topic": "answer", "payload": "seven"}'

Every answer of the model and of a tool is a checkpoint: a crash, a deploy or a week of waiting costs no second call.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from celery import Celery

from celeriac import Abort, Celeriac, Retry, current_run, parallel, receive, step, workflow

app = Celery("agent_loop")
durable = Celeriac(app)

TURNS = 10
DAY_SECONDS = 86_400


@dataclass
class Call:
    tool: str
    argument: str


@dataclass
class Decision:
    """What the model wants: to use tools, to ask a person, or to answer."""

    kind: Literal["use", "ask", "answer"]
    words: str = ""
    calls: list[Call] = field(default_factory=list)


# The outside world: a model and two services. Replace them by yours; these are stand-ins that know almost nothing.


async def model(goal: str, notes: list[str]) -> Decision:
    """Decides by the number of notes alone, so that it decides the same each time."""
    await asyncio.sleep(0)
    if not notes:
        return Decision("use", calls=[Call("forecast", goal), Call("parks", goal)])
    if len(notes) == 2:
        return Decision("ask", "How many people come?")
    return Decision("answer", f"A picnic in {goal}. {'. '.join(notes)}.")


FORECASTS = {"Oslo": "sunny", "Bergen": "rain"}
PARKS = {"Oslo": "Frogner", "Bergen": "Nygård"}


@step(timeout=10, retry=Retry(max_attempts=3))
async def forecast(city: str) -> str:
    await asyncio.sleep(0)
    return FORECASTS.get(city, "nobody knows")


@step(timeout=10)
def parks(city: str) -> str:
    return PARKS[city]


TOOLS = {"forecast": forecast, "parks": parks}


@step(timeout=120, retry=Retry(max_attempts=4, min_delay=2))
async def think(goal: str, notes: list[str]) -> Decision:
    """One call of the model. A decision that cannot be carried out is an error, and it is asked again."""
    decision = await model(goal, notes)
    if unknown := {call.tool for call in decision.calls} - TOOLS.keys():
        raise ValueError(f"the model asks for tools that are not there: {unknown}")
    return decision


def use(calls: list[Call]) -> list[str]:
    """What the tools say, all at once. An error is something that the model should know, and no end of the run."""
    results = parallel(*(TOOLS[call.tool].s(call.argument) for call in calls), return_exceptions=True)
    return [
        f"{call.tool} failed, {result}" if isinstance(result, Exception) else f"{call.tool}: {result}"
        for call, result in zip(calls, results, strict=True)
    ]


def ask(question: str) -> str:
    """What a person says, who sees the question on the page of the run or through the API."""
    current_run().metadata.set("question", question)
    try:
        return f"{question} {receive('answer', timeout=DAY_SECONDS)}"
    except TimeoutError:
        return f"{question} nobody answered"


@workflow(name="plan-picnic", max_duration=7 * DAY_SECONDS)
def plan_picnic(city: str) -> str:
    notes: list[str] = []
    for turn in range(1, TURNS + 1):
        current_run().metadata.progress(turn, TURNS, note=f"{len(notes)} notes")
        decision = think(city, notes)
        match decision.kind:
            case "use":
                notes += use(decision.calls)
            case "ask":
                notes.append(ask(decision.words))
            case "answer":
                return decision.words
    raise Abort(f"no answer after {TURNS} turns")
