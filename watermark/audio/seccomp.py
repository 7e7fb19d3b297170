"""Confine this process with seccomp: compute, read, write; nothing else.

A seccomp filter (Linux 3.17 and later, x86-64 and arm64) that lets through the system calls a
decoder needs: memory, time, reading and writing open descriptors, ending. Every other one
(opening a file, a socket, a process, a signal to another) fails with EPERM. It cannot be taken back
and needs no privilege. It covers every thread of the process, also those that libraries started.
Where the system refuses it, :func:`lock_down` does nothing and says so.

The filter is a program of the kernel's classic BPF: ``struct sock_filter`` is two bytes of code,
two jump distances of a byte and a constant of four (Documentation/userspace-api/seccomp_filter).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

__all__ = ["lock_down"]

# Names as in the kernel's tables (syscall_64.tbl, include/uapi/asm-generic/unistd.h).
_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
    "pread64": 17, "readv": 19, "writev": 20, "sched_yield": 24, "mremap": 25, "madvise": 28,
    "nanosleep": 35, "getpid": 39, "exit": 60, "gettimeofday": 96, "getrusage": 98,
    "sigaltstack": 131, "gettid": 186, "futex": 202, "sched_getaffinity": 204,
    "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231,
    "getrandom": 318, "rseq": 334,
}  # fmt: skip
_AARCH64 = {
    "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67,
    "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
    "clock_gettime": 113, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
    "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
    "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178,
    "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233,
    "getrandom": 278, "rseq": 293,
}  # fmt: skip
# By machine: the kernel's AUDIT_ARCH_ number, the calls let through, the number of seccomp(2).
_ARCHITECTURES = {
    "x86_64": (0xC000003E, _X86_64, 317),
    "aarch64": (0xC00000B7, _AARCH64, 277),
}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1  # of seccomp(2); TSYNC: every thread, or none


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def lock_down() -> bool:
    """Allow only a decoder's system calls from now on. False if unsupported."""
    known = _ARCHITECTURES.get(platform.machine())
    if not sys.platform.startswith("linux") or known is None:
        return False
    architecture, calls, seccomp = known
    code = _filter(architecture, calls)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        return False
    set_filter = (ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_FLAG_TSYNC))
    return bool(libc.syscall(ctypes.c_long(seccomp), *set_filter, ctypes.byref(program)) == 0)


def _filter(architecture: int, calls: dict[str, int]) -> bytes:
    """The program: the wrong architecture is fatal, a listed call passes, any other is refused."""

    def step(code: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, constant)

    steps = [
        step(_LOAD, _ARCHITECTURE_AT),
        step(_EQUAL, architecture, if_true=1),
        step(_RETURN, _KILL),
        step(_LOAD, _NUMBER_AT),
    ]
    numbers = sorted(calls.values())
    for place, number in enumerate(numbers):  # a hit jumps over the rest and the refusal
        steps.append(step(_EQUAL, number, if_true=len(numbers) - place))
    return b"".join([*steps, step(_RETURN, _REFUSE), step(_RETURN, _ALLOW)])
