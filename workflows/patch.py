"""`patched`: new code beside old, while runs are under way."""

from ..state import payload
from .engine.execution import current_execution
from .step import checked_name


def patched(id: str) -> bool:
    """Whether this run takes the new code: True for a run that comes here for the first time, False for one that was
    here before this line was, and goes on with what it has recorded. The answer is kept.

    >>> if patched("fraud-check"):
    ...     check_fraud(order)
    >>> charge(order)

    When no old run is left the old code can go, and then the question. Outside of a run it is True.
    """
    checked_name(id, "a patch")
    execution = current_execution()
    if execution is None or execution.step_inside is not None:
        return True
    execution.refuse_in_task("patched()", "ask in the workflow function itself, before it makes tasks")
    key = f"{id}#patch"
    if key not in execution.answers:
        execution.answers[key] = execution.has_finished(key) or not execution.unasked()
        if execution.answers[key]:  # the other answer is given again each time, also to a run that is to end
            is_noted = execution.boundary(key, "patch") is not None
            _, seq = execution.next_key(key)
            if not is_noted:
                execution.note(key, seq, id, "patch", payload.encode(True, "a patch"))
    return execution.answers[key]
