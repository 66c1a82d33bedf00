"""What a worker gives up before it meets content. Each step is as far as the system goes.

Everywhere the worker has neither the parent's environment nor its descriptors. POSIX: no core
dump, no file can grow. Linux: memory is bounded, no program gains privileges, and a filter on
system calls (x86-64 and arm64) lets through the few that computing, answering and dying take.
All others fail: files can't be opened, not even to be read, so that `/proc` shows no other process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from functools import cache

_NO_NEW_PRIVILEGES, _DUMPABLE = 38, 4

# The system calls let through, with their numbers on x86-64 and on arm64 (-1: there is none).
# Measured with strace over every format and 1,500 damaged files, on glibc; those that musl or
# another glibc uses for the same ends are here too.
_ALLOWED = {
    # the descriptors at hand: the two pipes, the null device, the meter of memory
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, -1),
    "ppoll": (271, 73),
    # memory, which RLIMIT_DATA bounds; `mmap` has its conditions below
    "brk": (12, 214),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    # its own threads; `clone` has its conditions below
    "futex": (202, 98),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # its own signals; `tgkill` has its conditions below
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "setitimer": (38, 103),
    "restart_syscall": (219, 128),
    # time and chance
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "gettimeofday": (96, 169),
    "time": (201, -1),
    "getrandom": (318, 278),
    # what it is
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "sysinfo": (99, 179),
    "uname": (63, 160),
}
_MMAP, _CLONE, _TGKILL, _SECCOMP = (9, 222), (56, 220), (234, 131), (317, 277)
# From here on numbers are those of newer calls, the same on both machines. Told that they don't
# exist, C libraries fall back: from `clone3`, whose arguments a filter can't see, to `clone`.
_NEWER = 424
# MAP_SHARED and MAP_GROWSDOWN: RLIMIT_DATA counts neither.
_UNCOUNTED = 0x0101
_THREAD, _NAMESPACES = 0x00010000, 0x7E020000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def confine(max_memory: int) -> list[str]:
    """Give up rights for good; gives the names of what is in force, to be shown to operators."""
    if os.name != "posix":
        return []
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    done = ["no core dumps", "no file growth"]
    if sys.platform != "linux":
        return done
    bound = data_in_use() + max_memory
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    done += ["bounded memory", "no new privileges"]
    # Absent from some kernels and container runtimes: then what is in force doesn't name it.
    if platform.machine() in _MACHINES and _filter(libc, *_MACHINES[platform.machine()]):
        done += ["filtered system calls", "no opening of files"]
    return done


def hide() -> None:
    """Keep this process's memory, environment and descriptors from others of the same user.

    Linux; elsewhere nothing changes. Lasts until the process becomes another program. It can't be
    debugged or leave a core dump then. A worker whose system calls are filtered sees nothing of
    other processes anyway: this is for systems without filters, and for programs beside the server.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)


def _filter(libc: ctypes.CDLL, column: int, architecture: int) -> bool:
    """Install the filter of system calls in every thread; False where the kernel has no such."""
    steps = _program(column, architecture)
    code = ctypes.create_string_buffer(b"".join(steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    program = Program(len(steps), ctypes.addressof(code))
    set_filter, every_thread = ctypes.c_ulong(1), ctypes.c_ulong(1)
    number = ctypes.c_long(_SECCOMP[column])
    gave = libc.syscall(number, set_filter, every_thread, ctypes.byref(program))
    if gave > 0:
        # A thread with a filter of its own. It could act for the others, so nothing would hold.
        raise OSError(errno.EBUSY, "a thread can't be confined")
    return bool(gave == 0)


def _program(column: int, architecture: int) -> list[bytes]:
    """The filter as classic BPF (Linux `seccomp(2)`): refused unless allowed."""
    load, equal, any_bit, at_least, give = 0x20, 0x15, 0x45, 0x35, 0x06
    allow, kill = 0x7FFF0000, 0x80000000
    refuse, absent = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

    def step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("<HBBI", code, then, otherwise, value)

    def argument(number: int) -> int:
        # The low half: the kernel reads no more of those that are looked at.
        return 16 + 8 * number

    # Numbers mean other calls in another architecture's numbering.
    steps = [step(load, 4), step(equal, architecture, 1), step(give, kill), step(load, 0)]
    for numbers in _ALLOWED.values():
        if numbers[column] >= 0:
            steps += [step(equal, numbers[column], 0, 1), step(give, allow)]
    # Also the 32-bit numbering on x86-64 (x32), which begins far above.
    steps += [step(at_least, _NEWER, 0, 1), step(give, absent)]
    steps += [
        step(equal, _MMAP[column], 0, 4),
        step(load, argument(3)),
        step(any_bit, _UNCOUNTED, 0, 1),
        step(give, refuse),
        step(give, allow),
    ]
    # A new thread is well, a new process is not.
    steps += [
        step(equal, _CLONE[column], 0, 5),
        step(load, argument(0)),
        step(any_bit, _NAMESPACES, 1, 0),
        step(any_bit, _THREAD, 1, 0),
        step(give, refuse),
        step(give, allow),
    ]
    # Aborting is a signal to itself.
    steps += [
        step(equal, _TGKILL[column], 0, 3),
        step(load, argument(0)),
        step(equal, os.getpid(), 0, 1),
        step(give, allow),
    ]
    return [*steps, step(give, refuse)]


def data_in_use() -> int:
    """Bytes that `RLIMIT_DATA` counts, on Linux; 0 elsewhere, where nothing bounds them.

    The first call in a process opens what later ones read, also when it is confined.
    """
    if sys.platform != "linux":
        return 0
    # The sixth number of `statm`: pages of data and stack. It counts the stack (132 KiB) too much.
    return int(os.pread(_statm(os.getpid()), 256, 0).split()[5]) * os.sysconf("SC_PAGE_SIZE")


@cache
def _statm(process: int) -> int:
    return os.open(f"/proc/{process}/statm", os.O_RDONLY)
