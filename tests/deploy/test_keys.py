"""`celeriac keys`."""

import json
from datetime import timedelta

from celeriac.api import create_app
from celeriac.api.access import keyring
from celeriac.state import api_keys


def test_a_key_is_made_used_rotated_listed_and_revoked(run, durable):
    client = create_app(durable).test_client()

    def status(text: str) -> int:
        return client.get("/api/v1/runs", headers={"Authorization": f"Bearer {text}"}).status_code

    made = run("keys", "create", "dashboard", "--scope", "runs:read", "--scope", "queues:read", "--days", "90")
    assert 0 == made.exit_code, made.output
    text = made.stdout.strip()
    assert 200 == status(text)
    (row,) = api_keys.every(durable.database)
    assert (["runs:read", "queues:read"], "cli") == (row.scopes, row.created_by)
    assert timedelta(days=89) < row.expires_at - durable.database.now() <= timedelta(days=90)
    (listed,) = json.loads(run("keys", "--json").stdout)
    assert (f"key_{row.id.hex}", "live") == (listed["id"], listed["state"])
    told = run("keys", "ls")
    assert row.prefix in told.stdout
    assert text not in told.stdout
    rotated = json.loads(run("keys", "rotate", listed["id"], "--overlap-hours", "0", "--json").stdout)
    assert (401, 200) == (status(text), status(rotated["key"]))
    assert "revoked" in run("keys", "revoke", rotated["id"]).stdout
    assert 401 == status(rotated["key"])


def test_what_cannot_be_is_a_usage_error_that_says_what_to_do(run, durable):
    for arguments, told in (
        (("create", "a", "--scope", "run:read"), "did you mean 'runs:read'"),
        (("create", "a"), "--scope"),
        (("create", " ", "--scope", "admin"), "who, or what, has the key"),
        (("create", "a", "--scope", "admin", "--days", "0"), "--days"),
        (("revoke", "key_7"), "is not a key id"),
        (("revoke", f"key_{'0' * 32}"), "keys ls"),
        (("rotate", f"key_{'0' * 32}"), "keys ls"),
    ):
        answer = run("keys", *arguments)
        assert (2, True) == (answer.exit_code, told in answer.output), answer.output
    assert [] == api_keys.every(durable.database)
    assert keyring.known(durable.database, "cel_") is None
