"""The session as a value."""

from __future__ import annotations

from credgate.sessions.model import Grant
from tests.fakes.sessions import session


def test_a_session_ends_idle_or_old_whichever_comes_first() -> None:
    """Both limits hold at once."""
    assert session(created=0.0, used=50.0, idle_ttl=100.0, absolute_ttl=500.0).expires() == 150.0
    assert session(created=0.0, used=450.0, idle_ttl=100.0, absolute_ttl=500.0).expires() == 500.0


def test_a_session_is_dead_at_the_second_it_expires() -> None:
    """The limit is exclusive: ttl seconds are lived, not one instant more."""
    one = session(created=0.0, used=0.0, idle_ttl=100.0, absolute_ttl=500.0)
    assert one.live(99.9)
    assert not one.live(100.0)


def test_no_digest_shows_in_a_session_s_repr() -> None:
    """Sessions end up in logs and tracebacks."""
    one = session()
    shown = repr(one)
    assert one.id in shown
    assert "digest" not in shown
    assert repr(one.token_digest) not in shown


def test_a_grant_without_a_normal_form_is_its_own() -> None:
    """Names that need no folding need not be said twice."""
    assert Grant(repo="octo/hello", forge="github.com").normal == "octo/hello"
    assert Grant(repo="Octo/Hello", forge="github.com", normal="octo/hello").normal == "octo/hello"
