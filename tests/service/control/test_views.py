"""What is shown of a session."""

from __future__ import annotations

import ipaddress

from attrs import evolve

from credgate.service.control.views import lifetimes, session_view
from credgate.sessions.body import parse_create
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.model import Grant, PushRule, Session
from credgate.values import Access
from tests.fakes.control import config, drivers

SESSION = Session(
    id="s-0123456789abcdef",
    token_digest=b"t" * 32,
    secret_digest=b"s" * 32,
    grants=(
        Grant(repo="octo/hello", forge="github.com"),
        Grant(repo="octo/docs", forge="github.com", access=Access.READ),
        Grant(repo="group/**", forge="git.example", push=()),
        Grant(repo="**", forge="git.example", push=(PushRule("refs/heads/x", frozenset(["update", "create"])),)),
    ),
    created=100.0,
    used=160.5,
    created_wall=5.0,
    idle_ttl=3600.0,
    absolute_ttl=86400.0,
    bound_to=ipaddress.ip_network("10.0.0.0/8"),
    label="box",
    dns=("example.com",),
)


def test_times_follow_the_current_wall_clock() -> None:
    """A clock that was wrong at creation must not stay wrong in listings."""
    view = session_view(SESSION, LeaseReading("boot", boot=200.0, wall=1_700_000_000.0))
    assert (view["created_at"], view["used_at"], view["expires_at"]) == (
        "2023-11-14T22:11:40Z",
        "2023-11-14T22:12:40Z",
        "2023-11-14T23:12:40Z",
    )


def test_no_secret_is_shown() -> None:
    """Not even digests, which the store protects."""
    view = session_view(SESSION, LeaseReading("boot", 200.0, 0.0))
    assert not [value for value in view.values() if isinstance(value, bytes)]
    assert not [key for key in view if "digest" in key or "token" in key or "secret" in key]


def test_shown_repos_can_be_posted_again() -> None:
    """A script can copy the rights of a session."""
    settings = config()
    session = evolve(SESSION, grants=tuple(grant for grant in SESSION.grants if grant.repo != "group/**"))
    shown = session_view(session, LeaseReading("boot", 200.0, 0.0))
    again = parse_create(
        {key: shown[key] for key in ("repos", "bind", "label", "dns")},
        forges=drivers(settings),
        default_forge="github.com",
        sessions=settings.sessions,
        legacy=False,
    )
    assert again.grants == session.grants
    assert (again.bound_to, again.label, again.dns) == (session.bound_to, session.label, session.dns)


def test_empty_push_list_differs_from_an_absent_one() -> None:
    """An empty list refuses every push; an absent one leaves the default rules."""
    repos = session_view(SESSION, LeaseReading("boot", 200.0, 0.0))["repos"]
    assert isinstance(repos, list)
    assert [repo.get("push") for repo in repos] == [
        None,
        None,
        [],
        [{"refs": "refs/heads/x", "allow": ["create", "update"]}],
    ]


def test_unbound_session_has_bind_null() -> None:
    """A create treats null as absent."""
    assert session_view(evolve(SESSION, bound_to=None), LeaseReading("boot", 200.0, 0.0))["bind"] is None


def test_whole_lifetimes_are_integers() -> None:
    """The ancestor answered 24 and 7, which shell arithmetic needs."""
    assert repr(lifetimes(SESSION)) == "{'ttl_inactivity_hours': 1, 'ttl_absolute_days': 1}"
    assert lifetimes(evolve(SESSION, idle_ttl=90.0, absolute_ttl=129600.0)) == {
        "ttl_inactivity_hours": 0.025,
        "ttl_absolute_days": 1.5,
    }
