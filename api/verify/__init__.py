"""Whether a webhook request is from who it says: see `verifier`. Presets are data, in `celeriac.workflows.presets`."""

from .request import Request
from .verifier import Verdict, verify

__all__ = ["Request", "Verdict", "verify"]
