"""The test kit: workflows without a server, with a clock that is moved, faults on demand, and workers that die.

For tests alone: nothing that runs in production imports it. `docs/testing-workflows.md` shows how it is used.
"""

from .durability import Ending, assert_durable, run_inline
from .inline import Inline, Moment

__all__ = ["Ending", "Inline", "Moment", "assert_durable", "run_inline"]
