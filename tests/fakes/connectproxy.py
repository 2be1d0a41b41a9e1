"""A forward proxy with CONNECT only, as squid has it for TLS.

It connects to the requested port on loopback, whatever the name. It records the requests and the bytes in the tunnel;
name resolution and access lists are not covered. ``answer`` replaces its 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

from attrs import define, field


@define(eq=False, slots=False)
class ConnectProxy:
    """Listens on ``127.0.0.1:port``; ``heads`` are the requests it got, ``through`` what its clients sent after."""

    answer: bytes = b""
    heads: list[bytes] = field(factory=list)
    through: bytearray = field(factory=bytearray, repr=False)
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The proxy's URL in a configuration."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The targets of the requests."""
        return [head.split(b" ")[1].decode() for head in self.heads]

    def close(self) -> None:
        """Close the listener and all connections."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
            return
        port = int(self.targets[-1].rpartition(":")[2])
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 fake\r\n\r\n")
        try:
            await asyncio.gather(self._pump(reader, outer, note=True), self._pump(inner, writer, note=False))
        finally:
            outer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, note: bool) -> None:
        while data := await source.read(65536):
            if note:
                self.through += data
            sink.write(data)
            await sink.drain()
        sink.close()
