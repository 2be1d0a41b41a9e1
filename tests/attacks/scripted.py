"""A forge that sends scripted bytes and records its requests.

Requests are read by h11, which shares no code with credgate: what h11 will not read as a request is ``broken``, and a
gateway that sends such a thing upstream is. The script gets each whole request and returns the bytes of the answer; it
may end the connection behind them. It runs its own event loop in its own thread, so that tests may block.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

import h11
from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ABORT = struct.pack("ii", 1, 0)
ENDS = "leaves", "cuts", "resets"
"""What follows the answer: nothing, an end of the connection, a reset of it."""


@frozen
class Asked:
    """One whole request."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = field(repr=False)

    def get(self, name: bytes) -> bytes | None:
        """Find a field."""
        return dict(self.fields).get(name)


@frozen
class Said:
    """One answer: pieces that are sent as they come, and what follows them (``ENDS``)."""

    pieces: Iterable[bytes]
    end: str = "leaves"


@define(eq=False)
class Conversation:
    """One connection from the gateway, since the last ``clear``."""

    heard: bytearray = field(factory=bytearray, repr=False)
    heads: int = 0
    asked: list[Asked] = field(factory=list)
    broken: str = ""
    closed: bool = False
    """Whether the gateway has let go of it, or we have."""
    writer: asyncio.StreamWriter | None = field(default=None, repr=False)


Script = "Callable[[Asked], Said]"


class ScriptedForge:
    """Listens on a loopback port; ``script`` may be replaced at any time."""

    def __init__(self, script: Callable[[Asked], Said]) -> None:
        self.script = script
        self.conversations: list[Conversation] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted forge", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where the gateway finds it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[Asked]:
        """Every whole request since the last ``clear``."""
        return [asked for conversation in self.conversations for asked in conversation.asked]

    @property
    def heard(self) -> bytes:
        """Every byte since the last ``clear``."""
        return b"".join(bytes(conversation.heard) for conversation in self.conversations)

    def clear(self) -> None:
        """Forget what was heard; connections that live are recorded on, from nothing."""
        self.conversations = [one for one in self.conversations if not one.closed]
        for one in self.conversations:
            one.heard.clear()
            one.asked.clear()
            one.heads = 0

    def blurt(self, data: bytes) -> list[Conversation]:
        """Send ``data`` on every idle connection, unasked; these connections."""
        alive = [one for one in self.conversations if not one.closed and one.writer is not None]
        for one in alive:
            self._loop.call_soon_threadsafe(one.writer.write, data)  # type: ignore[union-attr]
        return alive

    def close(self) -> None:
        """End the listener, the connections and the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=1024)

    async def _end(self) -> None:
        self._server.close()
        await asyncio.sleep(0)
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        conversation = Conversation(writer=writer)
        self.conversations.append(conversation)
        try:
            with contextlib.suppress(OSError):
                await self._converse(conversation, reader, writer)
        finally:
            conversation.closed = True
            writer.transport.abort()

    async def _converse(
        self, conversation: Conversation, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        left = b""
        while True:
            try:
                asked, left = await self._request(conversation, reader, left)
            except h11.RemoteProtocolError as error:
                conversation.broken = str(error)
                return
            if asked is None:
                return
            conversation.asked.append(asked)
            said = self.script(asked)
            for piece in said.pieces:
                writer.write(piece)
                await writer.drain()
            if said.end == "leaves":
                continue
            if said.end == "resets":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                return
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 10)
            return

    async def _request(
        self, conversation: Conversation, reader: asyncio.StreamReader, left: bytes
    ) -> tuple[Asked | None, bytes]:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
        head: h11.Request | None = None
        body = bytearray()
        if left:
            parser.receive_data(left)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(1 << 16)
                conversation.heard += data[: 1 << 20]
                if not data and head is None:
                    return None, b""
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
                conversation.heads += 1
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                fields = tuple((bytes(name), bytes(value)) for name, value in head.headers)
                return Asked(bytes(head.method), bytes(head.target), fields, bytes(body)), parser.trailing_data[0]
            else:
                return None, b""
