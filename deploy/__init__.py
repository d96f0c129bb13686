"""What is started: the command line, and everything in one terminal. It stands on all others; nothing imports it."""

if __name__ != "celeriac.deploy":
    raise ImportError("import celeriac.deploy, not deploy: a second copy of a module would be another program")
