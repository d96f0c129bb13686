"""`python -m celeriac.deploy` is the `celeriac` command: for processes that start others of their own kind."""

from .cli import main

main()
