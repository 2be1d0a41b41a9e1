"""The two caches: size, expiry, stale answers."""

from __future__ import annotations

from credgate.dns.answer import CheckedAnswer
from credgate.dns.cache import MAX_REPLY, AnswerCache, ReplyCache
from credgate.dns.upstream_response import Resource

NAME = (b"a", b"example")
POSITIVE = CheckedAnswer(0, (NAME,), (Resource(NAME, 1, 60, b"\1\2\3\4"),), 60)
NEGATIVE = CheckedAnswer(3, (NAME,), (), 600)
KEY = (NAME, 1)


def made(size: int = 10) -> AnswerCache:
    """Make a cache."""
    return AnswerCache(size=size, max_ttl=300.0, negative_ttl=30.0, stale_ttl=3600.0)


def test_reply_is_cached_until_it_expires() -> None:
    """It is not returned later."""
    cache = ReplyCache()
    cache.put(b"key", b"reply", 10.0)
    assert (cache.get(b"key", 9.9), cache.get(b"key", 10.0), cache.get(b"other", 0.0)) == (b"reply", None, None)


def test_reply_cache_has_a_fixed_size() -> None:
    """A flood of different datagrams turns the cache over; what is in use survives it."""
    cache = ReplyCache(size=4)
    cache.put(b"used", b"reply", 99.0)
    for number in range(1000):
        cache.put(number.to_bytes(2), b"x", 99.0)
        assert cache.get(b"used", 0.0) == b"reply"
        assert len(cache) <= 8
    for number in range(20):
        cache.put(number.to_bytes(2), b"x", 99.0)
    assert cache.get(b"used", 0.0) is None


def test_large_reply_is_not_cached() -> None:
    """So the number of entries bounds the memory."""
    cache = ReplyCache()
    cache.put(b"k", bytes(MAX_REPLY), 99.0)
    assert len(cache) == 0


def test_answer_is_cached_for_its_ttl_within_limits() -> None:
    """Floor of a second, caps for both kinds."""
    cache = made()
    assert cache.put(KEY, POSITIVE, 100.0).expires == 160.0
    assert cache.put(KEY, NEGATIVE, 100.0).expires == 130.0
    assert cache.put(KEY, CheckedAnswer(0, (NAME,), POSITIVE.resources, 0), 100.0).expires == 101.0
    assert cache.put(KEY, CheckedAnswer(0, (NAME,), POSITIVE.resources, 2**31 - 1), 100.0).expires == 400.0


def test_answer_is_fresh_then_stale_then_gone() -> None:
    """Fresh, then stale, then gone; its TTL counts down in whole seconds and never to 0."""
    known = made().put(KEY, POSITIVE, 100.0)
    assert (known.fresh(159.9), known.fresh(160.0)) == (True, False)
    assert (known.stale(160.0), known.stale(3759.9), known.stale(3760.0)) == (True, True, False)
    assert (known.ttl(100.0), known.ttl(100.5), known.ttl(159.9), known.ttl(200.0)) == (60, 60, 1, 1)


def test_failure_is_remembered_and_keeps_the_answer() -> None:
    """RFC 9520: no storm on an upstream that is down; RFC 8767: what was known may still be given."""
    cache = made()
    failed = cache.fail(KEY, 5.0, 3.0)
    assert (failed.answer, failed.retry_at, failed.fresh(5.0), failed.stale(5.0)) == (None, 8.0, False, False)
    cache.put(KEY, POSITIVE, 10.0)
    failed = cache.fail(KEY, 80.0, 3.0)
    assert (failed.answer, failed.retry_at, failed.stale(80.0)) == (POSITIVE, 83.0, True)


def test_answer_cache_removes_the_least_recently_used() -> None:
    """What is asked stays."""
    cache = made(3)
    for number in range(100):
        cache.put(((str(number).encode(),), 1), POSITIVE, 0.0)
        cache.put(KEY, POSITIVE, 0.0)
        assert len(cache) <= 3
    assert cache.get(((b"99",), 1)) is not None
    assert cache.get(((b"97",), 1)) is None
    cache.put(((b"x",), 1), POSITIVE, 0.0)
    cache.put(((b"y",), 1), POSITIVE, 0.0)
    assert cache.get(((b"99",), 1)) is not None or cache.get(KEY) is None
