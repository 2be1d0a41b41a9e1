"""Small requests: how many a second on 16 connections (wrk), and the time of one on an open connection."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import time
from typing import TYPE_CHECKING

from benchmarks.targets import found

if TYPE_CHECKING:
    from benchmarks.targets import Place

PATH = "/bench/small/info/refs?service=git-upload-pack"
FIELDS = ("User-Agent: git/2.39.5", "Accept: */*", "Accept-Encoding: deflate, gzip", "Git-Protocol: version=2")
CONNECTIONS = 16


class RequestFailedError(Exception):
    """An answer was not the expected one."""


def rate(place: Place, seconds: int) -> float:
    """Measure how many requests a second ``CONNECTIONS`` get answered."""
    url = f"http://127.0.0.1:{place.port}{place.prefix}{PATH}"
    fields = [part for line in (*FIELDS, *place.fields) for part in ("-H", line)]
    command = [found("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout=10s", *fields, url]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    result = re.search(r"Requests/sec: *([0-9.]+)", ran.stdout)
    if result is None or "Non-2xx" in ran.stdout or "Socket errors" in ran.stdout:
        raise RequestFailedError(f"{place.name}:\n{ran.stdout}")
    return float(result[1])


def latencies(place: Place, count: int) -> tuple[float, float]:
    """Ask ``count`` times, one after the other, on one connection; p50 and p99 in milliseconds."""
    return middle_and_worst(times(place, 50 + count)[50:])


def middle_and_worst(took: list[float]) -> tuple[float, float]:
    """Return the p50 and the p99 of these."""
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    return cuts[49], cuts[98]


def times(place: Place, count: int, path: str = PATH) -> list[float]:
    """Ask for ``path`` ``count`` times, one after the other, on one connection; how long each took, in milliseconds."""
    lines = [f"GET {place.prefix}{path} HTTP/1.1", f"Host: 127.0.0.1:{place.port}", *FIELDS, *place.fields]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n"
    took: list[float] = []
    with socket.create_connection(("127.0.0.1", place.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(request)
            _whole(connection, place)
            took.append((time.perf_counter() - began) * 1000)
    return took


def _whole(connection: socket.socket, place: Place) -> None:
    answer = b""
    while True:
        data = connection.recv(65536)
        answer += data
        head, end, body = answer.partition(b"\r\n\r\n")
        if not data or (end and not head.startswith(b"HTTP/1.1 200")):
            raise RequestFailedError(f"{place.name}: {answer!r}")
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        if end and (len(body) == int(length[1]) if length else body.endswith(b"0\r\n\r\n")):
            return
