"""Whether a webhook request is from who it says: see `verifier`. Presets are data, in `celeriac.workflows.presets`."""

from .verifier import Verdict, verify
from .request import Request

__all__ = ["Request", "Verdict", "verify"]
