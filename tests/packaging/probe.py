"""Tries what a service has no business doing, and prints what was refused, one name a line."""

import ctypes
import mmap
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def write(path):
    with open(path, "w"):
        pass
    os.unlink(path)


def gain():
    with open("/proc/self/status") as status:
        fields = dict(line.split(":\t", 1) for line in status)
    if int(fields["CapBnd"], 16) == 0 or fields["NoNewPrivs"].strip() == "1":
        raise PermissionError


TRIED = {
    # The filter's business: an unprivileged process may do these.
    "ptrace": lambda: call("ptrace", 0, 0, 0, 0),
    "chown": lambda: os.chown("/var/lib/keywheel", os.getuid(), os.getgid()),
    "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 1),
    "unshare": lambda: call("unshare", 0x10000000),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "write-execute": lambda: mmap.mmap(-1, 4096, prot=7).close(),
    # The sandbox's business.
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "write-etc": lambda: write("/etc/keywheel/probe"),
    "write-tmp": lambda: write("/tmp/probe"),
    "write-state": lambda: write("/var/lib/keywheel/probe"),
    "privileges": gain,
}

for name, attempt in TRIED.items():
    try:
        attempt()
    except OSError:
        print(name)
