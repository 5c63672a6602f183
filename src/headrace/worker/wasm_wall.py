"""The kernel's wall around a sandbox process: what remains shut if a guest breaks out of wasmtime.

Landlock leaves the process one directory, the compiled-code cache, and no TCP. seccomp takes away
starting programs and processes, sockets, signals to others, tracing and the administration of the
machine. It is a list of what is denied, not of what is allowed: the allowed set of a language
runtime changes with every C library, and a sandbox that dies on a new one would be switched off.

Both bind the calling thread and the threads it starts, so they are put up before any other thread.
Where the kernel has neither, the process runs without and says so; where they are put up and do
not hold, it does not run.

Source: linux/landlock.h (ABI 1 to 6), linux/seccomp.h, linux/filter.h.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_LANDLOCK_CREATE_RULESET: Final = 444  # these three are the same on every architecture
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1

# Landlock's rights over files, by bit: EXECUTE 0, WRITE_FILE 1, READ_FILE 2, READ_DIR 3,
# REMOVE_DIR 4, REMOVE_FILE 5, MAKE_* 6 to 12 (MAKE_REG 8), REFER 13, TRUNCATE 14, IOCTL_DEV 15.
_CACHE_RIGHTS: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 14
_RIGHTS_BY_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # number of bits known
_NET_RIGHTS: Final = 0b11  # bind and connect TCP, from ABI 4
_SCOPES: Final = 0b11  # abstract sockets and signals of others, from ABI 6

_ALLOW: Final = 0x7FFF_0000
_DENY: Final = 0x0005_0000  # answer with the errno in the low bits
_KILL: Final = 0x8000_0000
_CLONE_THREAD: Final = 0x0001_0000

# Name → number on x86_64 and on aarch64; None where the call does not exist.
_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # programs and processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "unshare": (272, 97),
    "setns": (308, 268),
    "personality": (135, 92),
    # sockets and other ways to talk
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # kernel surface that is large and of no use here
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    # the machine and its files, as far as Landlock leaves them out
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_by_handle_at": (304, 265),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_TGKILL: Final = (234, 131)
_PRLIMIT64: Final = (302, 261)
_MACHINES: Final = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}  # column, audit arch
_X32_BIT: Final = 0x4000_0000


class WallError(Exception):
    """The wall was put up and does not hold."""


def put_up(cache_dir: Path) -> list[str]:
    """Put up what this kernel offers, try it, and return the names of what stands.

    The process must have no_new_privs set. Meant for the main thread of a fresh process.
    Raises: WallError, OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    stands = []
    abi = _restrict_files(libc, cache_dir)
    if abi:
        stands.append(f"landlock {abi}")
        _expect_denied("files", lambda: os.close(os.open("/etc", os.O_RDONLY)))
    if _filter_calls(libc):
        stands.append("seccomp")
        _expect_denied("sockets", lambda: socket.socket().close())
        _expect_denied("processes", lambda: os.execv("/nonexistent", ["x"]))  # noqa: S606  must fail
    return stands


def _expect_denied(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except PermissionError:
        return
    except OSError as error:
        raise WallError(f"the wall against {what} answers {error}") from error
    raise WallError(f"the wall against {what} does not hold")


def _restrict_files(libc: ctypes.CDLL, cache_dir: Path) -> int:
    """Return the Landlock version in force; 0 where the kernel has none."""
    abi = int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1))
    if abi < 1:
        return 0
    handled = (1 << _RIGHTS_BY_ABI.get(abi, 16)) - 1
    attributes = struct.pack(
        "=QQQ", handled, _NET_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0
    )
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = int(
        libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    )
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    try:
        directory = os.open(cache_dir, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = struct.pack("=Qi", _CACHE_RIGHTS & handled, directory)
            if libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) != 0:
                raise OSError(ctypes.get_errno(), "landlock_add_rule")
        finally:
            os.close(directory)
        if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return abi


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Install the seccomp filter; False where machine or kernel is unknown to it."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    filter_bytes = _filter(*machine, os.getpid())
    program = _Program(len(filter_bytes) // 8, filter_bytes)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS):
            return False
        raise OSError(ctypes.get_errno(), "seccomp")
    return True


def _filter(column: int, audit_arch: int, pid: int) -> bytes:
    """The filter in classic BPF.

    Shape: struct seccomp_data is {nr: u32, arch: u32, ip: u64, args: u64[6]}, little endian.
    """

    def step(code: int, if_true: int, if_false: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    deny = _DENY | errno.EPERM
    steps = [
        step(load, 0, 0, 4),
        step(equal, 1, 0, audit_arch),
        step(answer, 0, 0, _KILL),
        step(load, 0, 0, 0),
        step(at_least, 0, 1, _X32_BIT),
        step(answer, 0, 0, deny),
    ]
    # A call that is allowed by its first argument: threads but no processes, signals and limits
    # for this process only (abort() sends itself one).
    for number, test, value in (
        (_CLONE[column], any_bit, _CLONE_THREAD),
        (_TGKILL[column], equal, pid),
        (_PRLIMIT64[column], equal, 0),
    ):
        steps += [
            step(equal, 0, 4, number),
            step(load, 0, 0, 16),
            step(test, 0, 1, value),
            step(answer, 0, 0, _ALLOW),
            step(answer, 0, 0, deny),
        ]
    # clone3 hides its flags behind a pointer; told that it does not exist, libc uses clone.
    steps += [step(equal, 0, 1, _CLONE3[column]), step(answer, 0, 0, _DENY | errno.ENOSYS)]
    for numbers in _DENIED.values():
        number_or_none = numbers[column]
        if number_or_none is not None:
            steps += [step(equal, 0, 1, number_or_none), step(answer, 0, 0, deny)]
    steps.append(step(answer, 0, 0, _ALLOW))
    return b"".join(steps)
