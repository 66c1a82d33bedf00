"""What a worker gives up before it meets content. Each step is as far as the system goes.

Everywhere the worker has neither the parent's environment nor its descriptors. POSIX: no core
dump, no file can grow. Linux: memory is bounded, no program gains privileges, and a filter on
system calls (x86-64 and arm64) refuses what decoding has no use for: sockets, other programs and
processes, and changes to files. Reading files stays possible, since a scan gives paths.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_NO_NEW_PRIVILEGES, _SET_FILTER, _FILTER_MODE = 38, 22, 2

# System calls by what is refused, with their numbers on x86-64 and on arm64 (0: there is none).
_REFUSED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "sendto": (44, 206),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "fork": (57, 0),
    "vfork": (58, 0),
    "execve": (59, 221),
    "kill": (62, 129),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "rename": (82, 0),
    "mkdir": (83, 0),
    "rmdir": (84, 0),
    "creat": (85, 0),
    "link": (86, 0),
    "unlink": (87, 0),
    "symlink": (88, 0),
    "chmod": (90, 0),
    "fchmod": (91, 52),
    "chown": (92, 0),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "mkdirat": (258, 34),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "linkat": (265, 37),
    "symlinkat": (266, 36),
    "fchmodat": (268, 53),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "renameat2": (316, 276),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "userfaultfd": (323, 282),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
}
# Newer calls that pass their arguments in memory, where a filter can't look. Told that they don't
# exist, the C library uses the older ones.
_ABSENT = {"io_uring_setup": (425, 425), "clone3": (435, 435), "openat2": (437, 437)}
_OPEN, _OPENAT, _CLONE = (2, 0), (257, 56), (56, 220)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_THREAD = 0x00010000
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
        done.append("filtered system calls")
    return done


def _filter(libc: ctypes.CDLL, column: int, architecture: int) -> bool:
    """Install the filter of system calls; False where the kernel has no such thing."""
    steps = _program(column, architecture)
    code = ctypes.create_string_buffer(b"".join(steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))

    program = Program(len(steps), ctypes.addressof(code))
    return bool(libc.prctl(_SET_FILTER, _FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


def _program(column: int, architecture: int) -> list[bytes]:
    """The filter as classic BPF (Linux `seccomp(2)`): allowed unless refused."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | errno.EPERM
    absent, kill = 0x00050000 | errno.ENOSYS, 0x80000000

    def step(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("<HBBI", code, then, otherwise, value)

    def argument(number: int) -> int:
        return 16 + 8 * number

    steps = [step(load, 4), step(equal, architecture, 1), step(give, kill), step(load, 0)]
    # 32-bit numbering on x86-64 (x32) would pass the comparisons below.
    steps += [step(0x35, 0x40000000, 0, 1), step(give, kill)]
    for refusal, calls in ((refuse, _REFUSED), (absent, _ABSENT)):
        for numbers in calls.values():
            if numbers[column]:
                steps += [step(equal, numbers[column], 0, 1), step(give, refusal)]
    for call, place in ((_OPEN, 1), (_OPENAT, 2)):
        if call[column]:
            steps += [
                step(equal, call[column], 0, 4),
                step(load, argument(place)),
                step(any_bit, _WRITING, 0, 1),
                step(give, refuse),
                step(give, allow),
            ]
    # A new thread is well, a new process is not.
    steps += [
        step(equal, _CLONE[column], 0, 3),
        step(load, argument(0)),
        step(any_bit, _THREAD, 1, 0),
        step(give, refuse),
        step(give, allow),
    ]
    return steps


def data_in_use() -> int:
    """Bytes that `RLIMIT_DATA` counts, on Linux; 0 elsewhere, where nothing bounds them."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    raise OSError("the size of the process is not known")
