"""``GET /v1/forges``: what credentials there are, for people and for ``credgate status``."""

from __future__ import annotations

from tests.fakes.control import Desk

FORGE = {"name": "github.com", "credentials": [{"repositories": ["**"], "id": "5f1d0c9be772", "kind": "cmd"}]}


def test_forges_are_told_as_the_credentials_say() -> None:
    """Nothing is added here that could be a secret."""
    answer = Desk(forges=lambda: [FORGE]).call("GET", "/v1/forges")
    assert (answer.status, answer.json) == (200, {"forges": [FORGE]})
    assert Desk().call("GET", "/v1/forges").json == {"forges": []}
    assert Desk().call("POST", "/v1/forges").status == 405
