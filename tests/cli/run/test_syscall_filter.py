"""The system call filter on each machine, run by a small BPF interpreter (with a kernel: ``tests/e2e``)."""

from __future__ import annotations

import errno
import os
import platform
import struct

import pytest

from credgate.cli.output import CommandError
from credgate.cli.run import syscall_filter

ALLOW, KILL = 0x7FFF0000, 0x80000000
I386, ARM = 0x40000003, 0x40000028
X86_64, AARCH64 = syscall_filter.MACHINES["x86_64"], syscall_filter.MACHINES["aarch64"]


def refused(code: int) -> int:
    """Return the filter's result for a system call that fails with this error."""
    return 0x00050000 | code


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run a filter on one system call (seccomp(2), bpf(4)); its jumps lead forward only, so it ends."""
    call = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    found = list(struct.iter_unpack("=HBBI", program))
    place, held = 0, 0
    while True:
        code, if_true, if_false, operand = found[place]
        place += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            held = struct.unpack_from("<I", call, operand)[0]
        elif code == 0x54:
            held &= operand
        else:
            place += if_true if (held == operand if code == 0x15 else held >= operand) else if_false


HIGH = 1 << 32


@pytest.mark.parametrize("on", [X86_64, AARCH64])
@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("socket", (2, 1, 0), ALLOW),
        ("socket", (10, 2, 17), ALLOW),
        ("socket", (16, 3, 0), ALLOW),
        ("socket", (16, 3, 9), refused(errno.EAFNOSUPPORT)),
        ("socket", (1, 1, 0), refused(errno.EAFNOSUPPORT)),
        ("socket", (1 | HIGH, 1, 0), refused(errno.EAFNOSUPPORT)),
        ("socket", (40, 1, 0), refused(errno.EAFNOSUPPORT)),
        ("socket", (17, 3, 0), refused(errno.EAFNOSUPPORT)),
        ("socket", (0xFFFFFFFF, 1, 0), refused(errno.EAFNOSUPPORT)),
        ("socketpair", (1, 1, 0), ALLOW),
        ("socketpair", (1, 1 | 0o2004000, 0), ALLOW),
        ("socketpair", (1, 5, 0), ALLOW),
        ("socketpair", (1, 2, 0), refused(errno.EPERM)),
        ("socketpair", (1, 3 | 0o2000000, 0), refused(errno.EPERM)),
        ("socketpair", (30, 1, 0), refused(errno.EAFNOSUPPORT)),
        ("ioctl", (0, 0x5401, 0), ALLOW),
        ("ioctl", (0, 0x5412, 0), refused(errno.EPERM)),
        ("ioctl", (0, 0x541C | HIGH, 0), refused(errno.EPERM)),
    ],
)
def test_sockets_and_terminal_calls_are_filtered(
    on: syscall_filter.Machine, call: str, arguments: tuple[int, ...], expected: int
) -> None:
    """IP sockets are allowed. Unused upper bits of arguments do not matter."""
    assert answer(syscall_filter.program(on), on.architecture, getattr(on, call), *arguments) == expected


@pytest.mark.parametrize("on", [X86_64, AARCH64])
def test_io_uring_and_keyrings_are_refused(on: syscall_filter.Machine) -> None:
    """All other system calls are allowed."""
    program = syscall_filter.program(on)
    named = {on.socket, on.socketpair}
    answers = {number: answer(program, on.architecture, number) for number in range(600)}
    assert {number for number, one in answers.items() if one != ALLOW} - named == {425, 426, 427, *on.keys}
    assert {answers[number] for number in (425, 426, 427, *on.keys)} == {refused(errno.EPERM)}


def test_other_system_call_tables_are_refused() -> None:
    """Another architecture kills the process; x32 calls fail with ENOSYS. A cancelled call is skipped."""
    for on, foreign in ((X86_64, I386), (X86_64, AARCH64.architecture), (AARCH64, ARM)):
        for number in (1, 102, on.socket, 359):
            assert answer(syscall_filter.program(on), foreign, number) == KILL
    x86 = syscall_filter.program(X86_64)
    for number in (0x40000000, 0x40000000 | X86_64.socket, 0x80000000 | X86_64.socket, 0xFFFFFFFE):
        assert answer(x86, X86_64.architecture, number) == refused(errno.ENOSYS)
    assert answer(x86, X86_64.architecture, 0xFFFFFFFF) == ALLOW


def test_machine_without_a_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other machines the filter is readable from the start of the descriptor."""
    with syscall_filter.opened() as descriptor:
        assert os.read(descriptor, 65536) == syscall_filter.program(syscall_filter.machine())
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(CommandError, match="does not support riscv64") as caught:
        syscall_filter.machine()
    assert caught.value.status == 2
