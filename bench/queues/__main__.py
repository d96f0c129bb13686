"""What the queue costs and keeps: enqueueing, admission at any depth, fair turns, recovery from an empty Redis, rates.

All on this machine's embedded servers. Each figure is a median of several rounds with (least..most); what plain Celery
does stands beside it, measured in turn in the same minutes. `make bench-queue` runs it, in about five minutes;
`python bench/queues --only depth` runs one part. Nothing here asserts anything.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable

import depth
import enqueue
import fairness
import rates
import recovery
from stage import Stage
from table import show

PARTS: dict[str, Callable[[Stage, int], None]] = {
    "enqueue": enqueue.measure,
    "depth": depth.measure,
    "fairness": fairness.measure,
    "recovery": recovery.measure,
    "rates": rates.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/queues", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    began, load = time.monotonic(), os.getloadavg()[0]
    with Stage() as stage:
        print(f"$ {sys.executable} {' '.join(sys.argv)}")
        print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.2f} before; {stage.versions()}")
        print(f"$ {' '.join(stage.worker_command())}  (where a real worker is meant)")
        for name in options.only:
            stage.probe()
            at = time.monotonic()
            PARTS[name](stage, options.rounds)
            print(f"[{name}: {time.monotonic() - at:.0f} s]")
        stage.probe()
        show("The machine's own noise, probed before each part and at the end", *stage.noise())
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
