"""Many schedules of one workflow that are due in one second, fired by a beat in this process: seconds and count."""

import os
import threading
import time
from datetime import timedelta

from beat_shop import durable

from celeriac import Every
from celeriac.beat import Beat
from celeriac.state import schedules
from celeriac.workflows.schedules.row import Said, new_row

durable.register()
count = int(os.environ["BENCH_N"])
beat = Beat(durable)
thread = threading.Thread(target=beat.run)
thread.start()
time.sleep(1)
now = durable.database.now()
once = Every(86_400, start=now + timedelta(seconds=6))
new = [new_row(f"c{n}", schedules.DYNAMIC, once, Said(workflow="bench-tick"), now, None) for n in range(count)]
schedules.declare(durable.database, new, schedules.DYNAMIC, None)
decided = """
    select extract(epoch from max(fired_at) - min(due_at))::float8 as seconds, count(*) as ticks from celeriac.ticks
"""
while (row := durable.database.one(decided))["ticks"] < count:
    time.sleep(0.05)
beat.stop()
thread.join()
print(row["seconds"], row["ticks"])
