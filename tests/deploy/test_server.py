"""The processes that answer HTTP."""

import os
import signal

from gunicorn.config import Config
from gunicorn.glogging import Logger

from celeriac.deploy.server import Worker


def test_a_process_that_is_told_to_stop_while_it_still_makes_its_app_does_so():
    config = Config()
    process = Worker(1, os.getpid(), [], None, 30, config, Logger(config))
    process.method_queue.init()  # as gunicorn does before it makes the app
    process.handle_exit(signal.SIGTERM, None)  # the master would take an error here for an app that cannot start
    assert process.alive is False
