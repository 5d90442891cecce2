"""Stop a forked child at each system call on files, to count, record or fail it, or to kill the child.

It sees SQLite's own writes too, which no wrapper around Python's file functions could. Linux on x86-64 only:
a call fails because its number and its result are changed in the registers. A seccomp filter lets all other
calls pass at full speed.
"""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_TRACEME, _CONT, _GETREGS, _SETREGS, _DETACH, _SYSCALL = 0, 7, 12, 13, 17, 24
_SETOPTIONS, _SYSCALL_INFO = 0x4200, 0x420E
_SYSGOOD, _TRACESECCOMP, _EXITKILL = 1, 1 << 7, 1 << 20
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_SECCOMP_EVENT = signal.SIGTRAP | 7 << 8
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_RET_ALLOW, _RET_TRACE = 0x7FFF0000, 0x7FF00000
# Classic BPF: load a word of seccomp_data; jump if equal; jump if any bit is set; return.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
# Positions in user_regs_struct of x86-64.
_RAX, _RDX, _ORIG_RAX = 10, 12, 15

NAMES = {
    1: "write", 2: "open", 17: "pread64", 18: "pwrite64", 20: "writev", 0: "read", 74: "fsync", 75: "fdatasync",
    76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link",
    87: "unlink", 88: "symlink", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat",
    265: "linkat", 266: "symlinkat", 285: "fallocate", 296: "pwritev", 316: "renameat2", 326: "copy_file_range",
}  # fmt: skip
MUTATING = frozenset(NAMES.values()) - {"read", "pread64"}
WRITES = frozenset({"write", "pwrite64"})


class _Info(ctypes.Structure):
    # struct ptrace_syscall_info: op, arch, instruction and stack pointers, then number and arguments.
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("ip", ctypes.c_uint64), ("sp", ctypes.c_uint64), ("nr", ctypes.c_uint64),
                ("args", ctypes.c_uint64 * 6), ("more", ctypes.c_uint64 * 2)]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A system call of the child at its entry: its name, arguments, and the child it belongs to."""

    pid: int
    name: str
    args: tuple[int, ...]

    def path(self) -> str:
        """The file that the call is about, as the kernel names it now."""
        if self.name in {"openat", "mkdirat", "unlinkat", "renameat", "renameat2"}:
            return self._string(self.args[1])
        if self.name in {"open", "mkdir", "unlink", "rename", "rmdir", "truncate", "creat"}:
            return self._string(self.args[0])
        return str(Path(f"/proc/{self.pid}/fd/{self.args[0]}").readlink())

    def target(self) -> str:
        """The new name of a rename."""
        return self._string(self.args[1 if self.name == "rename" else 3])

    def data(self) -> bytes:
        """The bytes that a write writes."""
        return self._memory(self.args[1], self.args[2])

    def offset(self) -> int:
        """The offset in the file at which a write begins."""
        if self.name == "pwrite64":
            return self.args[3]
        lines = Path(f"/proc/{self.pid}/fdinfo/{self.args[0]}").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("pos:")).split()[1])

    def open_flags(self) -> int:
        return self.args[2 if self.name == "openat" else 1]

    def _memory(self, address: int, n_bytes: int) -> bytes:
        descriptor = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY)
        try:
            return os.pread(descriptor, n_bytes, address)
        finally:
            os.close(descriptor)

    def _string(self, address: int) -> str:
        text = self._memory(address, 4096 - address % 4096)
        if b"\0" not in text:
            text += self._memory(address + len(text), 4096)
        return os.fsdecode(text.split(b"\0")[0])


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer of a watcher: the call is not made and the child sees this errno."""

    errno: int


@dataclass(frozen=True, slots=True)
class Shorten:
    """Answer of a watcher: the write is cut to this many bytes; with `kill` the child dies right after it."""

    n_bytes: int
    kill: bool = False


KILL = "kill"
Answer = Fail | Shorten | str | None
Watcher = Callable[[Call], Answer]


def supported() -> bool:
    """Whether this machine lets a process trace its children by system call."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and _try()


def trace(child: Callable[[], None], watch: Watcher, *, reads: bool = False) -> int:
    """Fork, run `child` while `watch` is called at its system calls, and return the child's wait status.

    Args:
        child: runs in the forked process, which then exits with 0, or 1 if it raised.
        watch: called at the entry of each call that changes a file.
        reads: whether `watch` is also called at read, pread64, and an open that creates nothing.
    """
    libc = _libc()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            libc.ptrace(_TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            _install_filter(libc, reads)
            child()
            code = 0
        finally:
            os._exit(code)
    os.waitpid(pid, 0)
    _request(libc, _SETOPTIONS, pid, 0, _SYSGOOD | _TRACESECCOMP | _EXITKILL)
    return _follow(libc, pid, watch)


def _follow(libc: ctypes.CDLL, pid: int, watch: Watcher) -> int:
    info = _Info()
    pending: Fail | Shorten | None = None
    deliver = 0
    while True:
        _request(libc, _CONT if pending is None else _SYSCALL, pid, 0, deliver)
        deliver = 0
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return status
        if os.WSTOPSIG(status) == _SYSCALL_STOP:
            if isinstance(pending, Fail):
                _set_register(libc, pid, _RAX, -pending.errno)
            elif pending is not None and pending.kill:
                os.kill(pid, signal.SIGKILL)
            pending = None
        elif status >> 8 == _SECCOMP_EVENT:
            _request(libc, _SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.byref(info))
            answer = watch(Call(pid, NAMES[info.nr], tuple(info.args)))
            if answer == KILL:
                os.kill(pid, signal.SIGKILL)
            elif isinstance(answer, Fail):
                _set_register(libc, pid, _ORIG_RAX, -1)
                pending = answer
            elif isinstance(answer, Shorten):
                _set_register(libc, pid, _RDX, answer.n_bytes)
                pending = answer
        else:
            deliver = os.WSTOPSIG(status)


def _install_filter(libc: ctypes.CDLL, reads: bool) -> None:
    """Let the kernel stop this process at the calls of `NAMES`, and at no other."""
    creating = os.O_CREAT | os.O_TRUNC
    program = [(_LOAD, 0, 0, 0)]
    for number, name in NAMES.items():
        if name in {"read", "pread64"} and not reads:
            continue
        if name in {"open", "openat"} and not reads:
            flags = 16 + 8 * (2 if name == "openat" else 1)
            program += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, flags), (_ANY_BIT, 0, 1, creating),
                        (_RETURN, 0, 0, _RET_TRACE), (_RETURN, 0, 0, _RET_ALLOW)]  # fmt: skip
        else:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_TRACE)]
    program.append((_RETURN, 0, 0, _RET_ALLOW))
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)
    header = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer)))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp refuses a filter")


def _set_register(libc: ctypes.CDLL, pid: int, number: int, value: int) -> None:
    registers = (ctypes.c_uint64 * 27)()
    _request(libc, _GETREGS, pid, 0, ctypes.byref(registers))
    registers[number] = value % 2**64
    _request(libc, _SETREGS, pid, 0, ctypes.byref(registers))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return libc


def _request(libc: ctypes.CDLL, request: int, pid: int, address: int, data: object) -> None:
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, address, data) < 0 and ctypes.get_errno():
        number = ctypes.get_errno()
        if number == 3:  # ESRCH: the child was killed meanwhile, as the next waitpid will tell
            return
        raise OSError(number, f"ptrace request {request:#x}: {os.strerror(number)}")


def _try() -> bool:
    seen = []
    try:
        trace(lambda: os.truncate(os.devnull, 0), lambda call: seen.append(call.name))
    except OSError:
        return False
    return "truncate" in seen
