"""Whether a webhook request is from who it says: see `verifier`. Presets are data: `workflows/webhooks/presets.py`."""

from .request import Request
from .verifier import Verdict, verify

__all__ = ["Request", "Verdict", "verify"]
