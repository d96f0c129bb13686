"""psycopg2 in a gevent worker: a greenlet that waits for Postgres lets the others go on."""


def wait_by_gevent() -> None:
    """From now on every connection of this process waits so, also those that are not ours.

    Raises ImportError where psycogreen is missing.
    """
    try:
        from psycogreen.gevent import patch_psycopg  # type: ignore[import-untyped]
    except ImportError:
        raise ImportError(
            "a gevent worker needs psycogreen, else a wait for Postgres stops all: pip install 'celeriac[gevent]'"
        ) from None
    patch_psycopg()
