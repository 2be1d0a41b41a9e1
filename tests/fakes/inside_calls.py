"""Try system calls in ``credgate run --isolate``. One output line each: ``NAME: errno`` or ``NAME: done``.

Run as ``python inside_calls.py PATH...``, where each ``PATH`` is a UNIX socket.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import socket
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
SOCKET, SOCKETPAIR, KEYCTL, IOCTL = {"x86_64": (41, 53, 250, 16), "aarch64": (198, 199, 219, 29)}[platform.machine()]
IO_URING_SETUP, X32 = 425, 0x40000000
AF_VSOCK, AF_ALG, TIOCSTI = 40, 38, 0x5412
INT_80 = b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"
"""push rbx; mov eax, 20 (getpid of i386); int 0x80; pop rbx; ret."""


def call(number: int, *arguments: int) -> int:
    """Make a system call. Raises OSError."""
    answer: int = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), "")
    return answer


def to(path: str, kind: int) -> None:
    """Connect to a socket with a path."""
    with socket.socket(socket.AF_UNIX, kind) as one:
        one.connect(path)


def pair_to(path: str, kind: int) -> None:
    """Connect one end of a pair to a socket with a path."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        ours.sendto(b"called", path) if kind == socket.SOCK_DGRAM else ours.connect(path)


def pair() -> None:
    """Send through pairs, as programs do."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with ours, theirs:
            ours.send(b"x")
            theirs.recv(1)


def raw(family: int, kind: int = 1, protocol: int = 0) -> Callable[[], None]:
    """Return a function that creates and closes a socket, with unchanged 64-bit arguments."""
    return lambda: os.close(call(SOCKET, family, kind, protocol))


def by_int_80() -> None:
    """Use the other system call table, in a child process."""
    child = os.fork()
    if child == 0:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(INT_80)
        place = ctypes.addressof(ctypes.c_char.from_buffer(code))
        ctypes.CFUNCTYPE(ctypes.c_int)(place)()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(f"int 80: {'done' if status == 0 else status}\n")


def ways(places: list[str]) -> dict[str, Callable[[], object]]:
    """Return the functions to try, by name."""
    name = places[0]
    return {
        "stream": lambda: [to(one, socket.SOCK_STREAM) for one in places],
        "datagram": lambda: to(name + ".dgram", socket.SOCK_DGRAM),
        "raw unix": raw(1, 3),
        "upper half": raw(1 | 1 << 32),
        "pair": pair,
        "datagram pair": lambda: pair_to(name + ".dgram", socket.SOCK_DGRAM),
        "raw pair": lambda: call(SOCKETPAIR, 1, 3, 0, ctypes.addressof(ctypes.create_string_buffer(8))),
        "stream pair": lambda: pair_to(name, socket.SOCK_STREAM),
        "vsock": raw(AF_VSOCK),
        "alg": raw(AF_ALG, 5),
        "netlink route": raw(16, 3),
        "netlink audit": raw(16, 3, 9),
        "inet": raw(2),
        "inet6": raw(10),
        "io_uring": lambda: call(
            IO_URING_SETUP, 4, ctypes.addressof(ctypes.create_string_buffer(struct.calcsize("30I")))
        ),
        "x32": lambda: call(X32 | SOCKET, 1, 1, 0),
        "keyctl": lambda: call(KEYCTL, 0, 2**32 - 3, 1),
        "TIOCSTI": lambda: call(IOCTL, 0, TIOCSTI | 1 << 32, 0),
    }


def main(places: list[str]) -> None:
    """Try every function and print its result."""
    for name, way in ways(places).items():
        try:
            way()
        except OSError as error:
            sys.stdout.write(f"{name}: {errno.errorcode.get(error.errno or 0, '?')}\n")
        else:
            sys.stdout.write(f"{name}: done\n")
    if platform.machine() == "x86_64":
        sys.stdout.flush()
        by_int_80()


if __name__ == "__main__":
    main(sys.argv[1:])
