"""`make dev`: the shop of this folder in one terminal, with the CRM that it talks to. Ctrl-C stops it all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from crm import Crm

HERE = Path(__file__).parent


def main() -> int:
    crm = Crm(HERE / "data" / "customers.json")
    shop = subprocess.Popen(
        [sys.executable, "-m", "celeriac.deploy", "-A", "shop", "dev", *sys.argv[1:]],
        cwd=HERE,
        env=os.environ | {"CRM_URL": crm.url},
    )
    # The terminal sends Ctrl-C to both; `dev` stops its processes in order, and this one waits for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: shop.terminate())
    code = shop.wait()
    crm.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
