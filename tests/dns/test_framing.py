"""DNS over TCP: length prefixes, for any split of the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns.domain_names import WireError
from credgate.dns.framing import Frames, frame

MESSAGES = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


@given(MESSAGES, st.data())
def test_messages_are_complete_for_any_split(messages: list[bytes], data: st.DataObject) -> None:
    """Whole, byte by byte, pipelined: the same messages."""
    stream = b"".join(map(frame, messages))
    for cuts in ([], range(1, len(stream)), sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))):
        frames, got, start = Frames(50), [], 0
        for cut in [*cuts, len(stream)]:
            got += frames.receive(stream[start:cut])
            start = cut
        assert got == messages
        assert not frames.partial


def test_incomplete_message_sets_partial() -> None:
    """The listener uses it for its deadline."""
    frames = Frames(50)
    assert (frames.receive(b"\0"), frames.partial) == ([], True)
    assert (frames.receive(b"\2a"), frames.partial) == ([], True)
    assert (frames.receive(b"b\0\1"), frames.partial) == ([b"ab"], True)
    assert (frames.receive(b"c"), frames.partial) == ([b"c"], False)


@pytest.mark.parametrize("stream", [b"\0\0", b"\0\x33", b"\xff\xff", frame(b"ok") + b"\0\0"])
def test_invalid_length_raises(stream: bytes) -> None:
    """0 or above the limit: refused before an octet is stored; the limit itself is accepted."""
    assert Frames(50).receive(frame(b"x" * 50)) == [b"x" * 50]
    with pytest.raises(WireError):
        Frames(50).receive(stream)
