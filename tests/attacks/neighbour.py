"""Another sandbox's client, in a process of its own: asks until its stdin ends, then prints what it waited, as JSON.

The first line of stdin is its session (``TOKEN:SECRET``). Every second request is on a connection of its own, the
others on a kept one; all are discoveries that the forge answers. ``failed`` counts what was not answered by 200.
"""

from __future__ import annotations

import json
import select
import sys
import time

from tests.attacks.rawclient import RawClient, login

SOURCE = "127.0.0.2"


def _ask(client: RawClient, request: bytes) -> bool:
    try:
        client.send(request)
        answers = client.hear(answers=1).answers
    except OSError:
        return False
    return len(answers) == 1 and answers[0].whole and answers[0].status == 200


def _summary(waited: list[float], failed: int) -> dict[str, float]:
    waited.sort()
    place = {
        name: waited[min(len(waited) - 1, int(len(waited) * part))] for name, part in (("p50", 0.5), ("p99", 0.99))
    }
    return {"asked": len(waited), "failed": failed, "max": waited[-1] * 1e3} | {k: v * 1e3 for k, v in place.items()}


def main() -> None:
    """Ask, about fifty times a second."""
    port, repo = int(sys.argv[1]), sys.argv[2]
    line = sys.stdin.readline().strip()
    request = f"GET /git/{repo}.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: gateway\r\n".encode()
    request += login(line) + b"\r\n\r\n"
    kept: RawClient | None = None
    waited: list[float] = []
    failed = 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        began = time.perf_counter()
        if len(waited) % 2:
            with RawClient(port, source=SOURCE) as fresh:
                fine = _ask(fresh, request)
        else:
            kept = kept or RawClient(port, source=SOURCE)
            fine = _ask(kept, request)
            if not fine:  # a kept connection may be closed at any time: every HTTP client asks once more
                kept.socket.close()
                kept = RawClient(port, source=SOURCE)
                fine = _ask(kept, request)
        waited.append(time.perf_counter() - began)
        failed += not fine
        if select.select([sys.stdin], [], [], 0.02)[0]:
            break
    sys.stdout.write(json.dumps(_summary(waited, failed)) + "\n")


if __name__ == "__main__":
    main()
