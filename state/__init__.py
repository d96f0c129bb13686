"""What is true: Postgres, and nothing but Postgres. The law of this package is in its README."""

if __name__ != "celeriac.state":
    raise ImportError("import celeriac.state, not state: a second copy of a module would hold a second truth")
