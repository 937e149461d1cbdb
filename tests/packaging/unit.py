"""What a unit's [Service] says, and the system-call filter that systemd would make of it."""

import errno
import subprocess

import seccomp

# Of clone(2): a new namespace of any kind.
NAMESPACES = 0x7E020080
PROT_WRITE, PROT_EXEC = 2, 4
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


def service(path):
    """Each setting with its values, in order; an empty one forgets what came before."""
    settings, section = {}, None
    for line in open(path).read().replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, value = line.split("=", 1)
            settings.setdefault(key, [])
            settings[key] = [*settings[key], value] if value else []
    return settings


def calls_of(name):
    """The system calls of a set such as @system-service, or the one of that name."""
    if not name.startswith("@"):
        return {name}
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True
    )
    members = [line.strip() for line in told.stdout.splitlines()[1:]]
    return set().union(*(calls_of(it) for it in members if it and not it.startswith("#")))


def allowed_calls(settings):
    """What SystemCallFilter= leaves: the first value says which way round it is."""
    allowed = set()
    for value in settings["SystemCallFilter"]:
        calls = set().union(*map(calls_of, value.removeprefix("~").split()))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def refused(settings):
    """The action for what is not allowed, as the unit says it."""
    (name,) = settings["SystemCallErrorNumber"]
    return seccomp.ERRNO(getattr(errno, name))


def make_filter(settings, otherwise):
    """SystemCallFilter=, and those of the unit's restrictions that systemd makes filters of."""
    made = seccomp.SyscallFilter(otherwise)
    special = {
        "socket": _socket,
        "mmap": _mmap,
        "mprotect": _never_executable,
        "pkey_mprotect": _never_executable,
        "clone": _no_namespace,
        "clone3": _not_there,
        "setns": _never,
        "unshare": _never,
    }
    for name in sorted(allowed_calls(settings)):
        try:
            seccomp.resolve_syscall(seccomp.Arch(), name)
        except ValueError:
            continue
        special.get(name, _always)(made, name, settings)
    return made


def _always(made, name, _):
    try:
        made.add_rule(seccomp.ALLOW, name)
    except (OSError, RuntimeError):
        # Of another architecture.
        pass


def _never(*_):
    pass


def _not_there(made, name, _):
    # Its arguments can't be looked at, and callers fall back to clone.
    made.add_rule(seccomp.ERRNO(errno.ENOSYS), name)


def _socket(made, name, settings):
    for family in settings["RestrictAddressFamilies"][0].split():
        made.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, seccomp.EQ, FAMILIES[family]))


def _mmap(made, name, settings):
    assert settings["MemoryDenyWriteExecute"] == ["yes"]
    both = PROT_WRITE | PROT_EXEC
    for kept in (0, PROT_WRITE, PROT_EXEC):
        made.add_rule(seccomp.ALLOW, name, seccomp.Arg(2, seccomp.MASKED_EQ, both, kept))


def _never_executable(made, name, _):
    made.add_rule(seccomp.ALLOW, name, seccomp.Arg(2, seccomp.MASKED_EQ, PROT_EXEC, 0))


def _no_namespace(made, name, settings):
    assert settings["RestrictNamespaces"] == ["yes"]
    made.add_rule(seccomp.ALLOW, name, seccomp.Arg(0, seccomp.MASKED_EQ, NAMESPACES, 0))
