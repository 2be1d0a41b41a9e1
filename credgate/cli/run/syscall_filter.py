"""The system call filter of ``credgate run --isolate``: a seccomp program in classic BPF (seccomp(2)).

A network namespace isolates IP and abstract UNIX sockets. It does not isolate UNIX sockets with a path, ``AF_VSOCK``
and some other address families. The filter therefore refuses to create any socket except IP and ``NETLINK_ROUTE``:

- ``socket`` is allowed for ``AF_INET``, ``AF_INET6`` and ``AF_NETLINK`` with protocol ``NETLINK_ROUTE``, which the C
  library uses to list the interfaces of this network namespace.
- ``socketpair`` is allowed for ``AF_UNIX`` streams and ``SOCK_SEQPACKET``, which many programs need for their children.
  Both ends stay connected to each other. A datagram pair is refused: connect(2) and sendto(2) can direct its ends to
  any other datagram socket.
- io_uring creates and connects sockets without these system calls, so it is refused.
- ``ioctl`` is refused for ``TIOCSTI`` and ``TIOCLINUX``, which type into the caller's terminal. ``add_key``,
  ``request_key`` and ``keyctl`` are refused because the command inherits the caller's session keyring.

Other system call tables (i386 by ``int 0x80`` on x86_64, 32-bit ARM) have other numbers and ``socketcall``: a process
that uses one is killed with SIGSYS. x32 has the same architecture word and a bit in the number: ENOSYS, as a kernel
without x32 answers. bubblewrap installs the program. Child processes inherit it and cannot remove it.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.cli.output import UNUSABLE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JGE|BPF_K, BPF_RET|BPF_K."""
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in ``struct seccomp_data``. An argument has 64 bits; its lower half comes first on both machines."""
_X32 = 0x40000000
_SKIPPED = 0xFFFFFFFF
"""The number of a system call that a tracer cancelled."""
_UNIX, _NETLINK, _NETLINK_ROUTE = 1, 16, 0
_TYPE = 0xF
"""The bits of the socket type. The others are SOCK_CLOEXEC and SOCK_NONBLOCK."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


@frozen
class Machine:
    """The architecture word of a machine (``AUDIT_ARCH_*``) and its numbers of the system calls that are filtered."""

    architecture: int
    socket: int
    socketpair: int
    ioctl: int
    keys: tuple[int, int, int]
    """add_key, request_key, keyctl."""
    has_x32: bool = False


MACHINES = {
    "x86_64": Machine(0xC000003E, socket=41, socketpair=53, ioctl=16, keys=(248, 249, 250), has_x32=True),
    "aarch64": Machine(0xC00000B7, socket=198, socketpair=199, ioctl=29, keys=(217, 218, 219)),
}
_IO_URING = (425, 426, 427)
"""io_uring_setup, io_uring_enter, io_uring_register, on every architecture."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand: ``struct sock_filter``."""


def machine() -> Machine:
    """Return this machine. Raises CommandError if there is no table for it."""
    name = platform.machine()
    found = MACHINES.get(name)
    if found is None or struct.calcsize("P") != 8:  # noqa: PLR2004 - a 64-bit process
        raise CommandError(
            f"--isolate does not support {name}: its system call filter is for {' and '.join(MACHINES)}", UNUSABLE
        )
    return found


def program(on: Machine) -> bytes:
    """Return the filter in the format of the kernel and of bubblewrap: an array of ``struct sock_filter``."""
    # The architecture first: the numbers below mean other calls in another table.
    code = [_load(_ARCHITECTURE), *_unless_equal(on.architecture, _KILL_PROCESS), _load(_NUMBER)]
    if on.has_x32:
        code += [*_if_equal(_SKIPPED, _ALLOW), (_AT_LEAST, 0, 1, _X32), _return(_error(errno.ENOSYS))]
    for number in (*_IO_URING, *on.keys):
        code += _if_equal(number, _error(errno.EPERM))
    no_family = _error(errno.EAFNOSUPPORT)
    families = [_argument(0), *_if_equal(socket.AF_INET, _ALLOW), *_if_equal(socket.AF_INET6, _ALLOW)]
    route = [_argument(2), *_if_equal(_NETLINK_ROUTE, _ALLOW), _return(no_family)]
    code += _for_call(on.socket, [*families, *_unless_equal(_NETLINK, no_family), *route])
    pair = [_argument(0), *_unless_equal(_UNIX, no_family), _argument(1), (_AND, 0, 0, _TYPE)]
    pair += [*_if_equal(socket.SOCK_STREAM, _ALLOW), *_if_equal(socket.SOCK_SEQPACKET, _ALLOW)]
    code += _for_call(on.socketpair, [*pair, _return(_error(errno.EPERM))])
    terminal = [_if_equal(request, _error(errno.EPERM)) for request in (_TIOCSTI, _TIOCLINUX)]
    code += _for_call(on.ioctl, [_argument(1), *terminal[0], *terminal[1], _return(_ALLOW)])
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [*code, _return(_ALLOW)])


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _argument(number: int) -> Instruction:
    # The kernel uses the lower 32 bits of these arguments and ignores the upper ones, and so does the filter.
    return _load(_ARGUMENTS + 8 * number)


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _error(number: int) -> int:
    return _ERRNO | number


def _if_equal(value: int, then: int) -> list[Instruction]:
    return [(_EQUAL, 0, 1, value), _return(then)]


def _unless_equal(value: int, then: int) -> list[Instruction]:
    return [(_EQUAL, 1, 0, value), _return(then)]


def _for_call(number: int, body: list[Instruction]) -> list[Instruction]:
    """Apply ``body``, which must return in every branch, to this system call only."""
    return [(_EQUAL, 0, len(body), number), *body]


@contextmanager
def opened() -> Iterator[int]:
    """Yield a descriptor with the filter for this machine, for ``bwrap --seccomp``. Raises CommandError."""
    # bubblewrap reads it to the end, so each run needs a new one.
    content = program(machine())
    descriptor = os.memfd_create("credgate-syscall-filter")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
