"""A TCP relay that records every byte of both directions, and can hold one direction.

It stands before the forge (what did the forge receive?) and before the gateway (what did the sandbox receive?). Tests
check its records, not what a party reports about itself. With a TLS context it is the TLS server and records the
decrypted bytes. It runs its own event loop in its own thread, so that tests may block.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field

if TYPE_CHECKING:
    import ssl

Direction = Literal["up", "down"]
PIECE = 64 * 1024
ABORT = struct.pack("ii", 1, 0)


@define(eq=False)
class Exchange:
    """One connection: ``up`` is what the client sent, ``down`` what it received."""

    up: bytearray = field(factory=bytearray, repr=False)
    down: bytearray = field(factory=bytearray, repr=False)
    closed: bool = False


@define(eq=False)
class Hold:
    """Stops every connection's ``direction`` once it has carried ``after`` bytes, until ``release``."""

    direction: Direction
    after: int
    reached: threading.Event = field(factory=threading.Event)
    released: threading.Event = field(factory=threading.Event)

    def release(self) -> None:
        """Let the bytes flow again."""
        self.released.set()


class Recorder:
    """Relays ``127.0.0.1:port``, or what ``listener`` is bound to, to ``target`` on loopback, recording."""

    def __init__(
        self, target: int, *, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None
    ) -> None:
        self.target, self._tls, self._listener = target, tls, listener
        self.exchanges: list[Exchange] = []
        self._hold: Hold | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    @property
    def up(self) -> bytes:
        """Everything that clients sent since the last ``clear``."""
        return b"".join(bytes(exchange.up) for exchange in self.exchanges)

    @property
    def down(self) -> bytes:
        """Everything that clients received since the last ``clear``."""
        return b"".join(bytes(exchange.down) for exchange in self.exchanges)

    def count(self, direction: Direction) -> int:
        """How many bytes went this way since the last ``clear``."""
        return sum(len(getattr(exchange, direction)) for exchange in self.exchanges)

    @property
    def open(self) -> list[Exchange]:
        """The open connections."""
        return [exchange for exchange in self.exchanges if not exchange.closed]

    def clear(self) -> None:
        """Discard the records; open connections are recorded from here on."""
        self.exchanges = self.open
        for exchange in self.exchanges:
            exchange.up.clear()
            exchange.down.clear()

    def hold(self, direction: Direction, after: int) -> Hold:
        """Hold every present and future connection until released; one hold at a time."""
        self._hold = Hold(direction, after)
        return self._hold

    def close(self) -> None:
        """End the listener, the connections and the thread. May be called again."""
        if self._loop.is_closed():
            return
        if self._hold is not None:
            self._hold.release()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        place: dict[str, Any] = {"sock": self._listener} if self._listener else {"host": "127.0.0.1", "port": 0}
        return await asyncio.start_server(self._accepted, ssl=self._tls, backlog=256, **place)

    async def _end(self) -> None:
        self._server.close()
        await asyncio.sleep(0)  # what was accepted a moment ago becomes a task
        # Now and then a task of Python 3.13 does not end by being cancelled: it goes with its loop, and fails no test.
        for _ in range(4):
            tasks = list(self._tasks)
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        exchange = Exchange()
        self.exchanges.append(exchange)
        whole = False
        try:
            with contextlib.suppress(OSError):
                whole = await self._relay(exchange, reader, writer)
            if whole:
                await _finish(writer)
        finally:
            exchange.closed = True
            _abort(writer)

    async def _relay(self, exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Relay both directions to their ends; return whether the connection ended orderly."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        up = asyncio.ensure_future(self._pump("up", exchange.up, reader, far_writer))
        down = asyncio.ensure_future(self._pump("down", exchange.down, far_reader, writer))
        try:
            # An end of the downward way ends the connection; an end of the upward way is passed on where TCP can.
            done, _ = await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
            if down not in done and up.exception() is None and self._tls is None:
                await down
            return all(way.exception() is None for way in (up, down) if way.done())
        finally:
            _abort(far_writer)
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)

    async def _pump(
        self, direction: Direction, record: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(PIECE):
            record += piece
            await self._held(direction, record)
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _held(self, direction: Direction, record: bytearray) -> None:
        hold = self._hold
        if hold is None or hold.direction != direction or len(record) < hold.after:
            return
        hold.reached.set()
        while not hold.released.is_set():  # noqa: ASYNC110 -- it is another thread that releases
            await asyncio.sleep(0.01)


async def _finish(writer: asyncio.StreamWriter) -> None:
    """Send pending bytes, then close."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), 10)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close at once: pending bytes are lost, and the peer gets a reset."""
    peer = writer.get_extra_info("socket")
    if not writer.is_closing() and peer.fileno() >= 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    writer.transport.abort()
