"""The number of Python function calls of one small request: the same figure on any machine.

The gateway runs under twistd's profiler (cProfile) twice, with few requests and with many. The difference of the calls,
divided by the difference of the requests, excludes the start and the end. Calls of C functions count, too. The
connections to the gateway and to the upstream are kept open, as git's are.
"""

from __future__ import annotations

import contextlib
import pstats
import socket
import tempfile
import threading
from pathlib import Path
from typing import Final

from tests.fakes.gateway import Gateway
from tests.fakes.waiting import free_port

FEW: Final = 200
MANY: Final = 1200
REQUEST: Final = (
    "GET /git/octo/hello.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "User-Agent: git/2.39.5\r\nAccept: */*\r\nAccept-Encoding: deflate, gzip\r\nGit-Protocol: version=2\r\n"
    "Authorization: Bearer {line}\r\n\r\n"
)
BODY: Final = (
    b"001e# service=git-upload-pack\n0000000eversion 2\n0015agent=git/2.39.5\n0013ls-refs=unborn\n"
    b"0012fetch=shallow\n0012server-option\n0017object-format=sha1\n0000"
)
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)


def per_request(folder: Path, *, few: int = FEW, many: int = MANY) -> dict[tuple[str, int, str], float]:
    """Return the calls a request of each function: (file, line, name) to calls, C functions included."""
    counts = [_profiled(folder / str(number), number) for number in (few, many)]
    functions = set(counts[0]) | set(counts[1])
    return {one: (counts[1].get(one, 0) - counts[0].get(one, 0)) / (many - few) for one in functions}


def _profiled(folder: Path, number: int) -> dict[tuple[str, int, str], int]:
    folder.mkdir()
    stats = folder / "stats"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        forge = threading.Thread(target=_answer, args=(listener,), daemon=True)
        forge.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        options = ("--profile", str(stats), "--profiler", "cprofile", "--savestats")
        gateway = Gateway(folder, url, "made-up", port=free_port(), twistd_options=options).start()
        try:
            _ask(gateway.port, gateway.grant(["octo/hello"]).line, number)
        finally:
            gateway.stop()
    counted = pstats.Stats(str(stats)).stats  # type: ignore[attr-defined]  # typeshed leaves it out
    return {function: calls for function, (_, calls, *_) in counted.items()}


def _answer(listener: socket.socket) -> None:
    """Answer every request with the same advertisement, one connection after the other."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(ConnectionResetError):  # the gateway resets it when it stops
            while connection.recv(65536):
                connection.sendall(ANSWER)


def _ask(port: int, line: str, number: int) -> None:
    request = REQUEST.format(line=line).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for _ in range(number):
            connection.sendall(request)
            answer = b""
            while BODY not in answer:
                data = connection.recv(65536)
                assert data, answer
                answer += data


def main(most: int = 1000) -> None:
    """Print the calls of a small discovery, and of the functions that are called most often ``most``."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        counts = per_request(Path(folder))
    print(f"{sum(counts.values()):.1f} function calls a small discovery")
    for (file, line, name), calls in sorted(counts.items(), key=lambda item: -item[1])[:most]:
        if calls >= 0.5:
            print(f"{calls:6.1f}  {Path(file).name}:{line} {name}")


if __name__ == "__main__":
    main()
