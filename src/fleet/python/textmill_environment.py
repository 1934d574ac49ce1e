"""Runs a program in a Python environment of its own, which has this Python's behind it: what is there counts as installed and
stays as it is, what pip adds is the program's alone, and may be newer.

    textmill_environment.py COMMAND...                             the program, with its environment's commands first in PATH
    textmill_environment.py --install REQUIREMENTS.TXT FOLDER      what the file names beside this environment, for
                                                                   TEXTMILL_REQUIREMENTS of such programs

pip's own --target would take an environment for empty, and bring all that it holds anew. This file runs on Python 3.6 too."""

import os
import shlex
import subprocess
import sys
import tempfile

VERSION = "python%d.%d" % sys.version_info[:2]
# Where packages go is said here.
PLACES = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER")


def base_python():
    """The Python that this environment was made of."""
    try:
        with open(os.path.join(sys.prefix, "pyvenv.cfg")) as lines:
            home = dict(map(str.strip, line.split("=", 1)) for line in lines if "=" in line)["home"]
    except (OSError, KeyError):  # it is no venv
        return os.path.realpath(sys.executable)
    named = os.path.join(home, VERSION)
    return os.path.realpath(named if os.path.exists(named) else sys.executable)


def is_venv():
    return os.path.exists(os.path.join(sys.prefix, "pyvenv.cfg"))


def packages_of(folder):
    return os.path.join(folder, "lib", VERSION, "site-packages")


def write_command(path, text):
    with open(path, "w") as out:
        out.write("#!/bin/sh\nexec " + text + ' "$@"\n')
    os.chmod(path, 0o755)


def make(folder, before=()):
    """An environment as the venv module makes them, without pip: the packages and commands of `before`, folders of such
    environments, and of this one come after its own, and run in it. Its Python."""
    commands, base = os.path.join(folder, "bin"), base_python()
    os.makedirs(packages_of(folder))
    os.makedirs(commands)
    with open(os.path.join(folder, "pyvenv.cfg"), "w") as out:
        # Of a plain installation the system's packages are this environment's own, and pip's --user works as it does there.
        out.write("home = %s\ninclude-system-site-packages = %s\nversion = %s\n"
                  % (os.path.dirname(base), "false" if is_venv() else "true", sys.version.split()[0]))
    python = os.path.join(commands, "python")
    for name in ("python", "python3", VERSION):
        os.symlink(base, os.path.join(commands, name))
    for name in ("pip", "pip3"):
        write_command(os.path.join(commands, name), shlex.quote(python) + " -m pip")
    with open(os.path.join(packages_of(folder), "behind.pth"), "w") as out:
        for path in [*map(packages_of, before), *(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))]:
            out.write("import site; site.addsitedir(%r)\n" % path)
    # A copy of each: programs look for their siblings beside themselves.
    for path in [*(os.path.join(path, "bin") for path in before), os.path.join(sys.prefix, "bin")]:
        for name in os.listdir(path):
            own, script = os.path.join(commands, name), script_in(os.path.join(path, name))
            if script is not None and not os.path.lexists(own):
                with open(own, "wb") as out:
                    out.write(first_line(python) + script)
                os.chmod(own, 0o755)
    return python


def first_line(python):
    """That Python runs the rest; as pip has it where the system takes no such line."""
    if len(python) < 120 and " " not in python:
        return os.fsencode("#!%s\n" % python)
    return os.fsencode("#!/bin/sh\n'''exec' %s \"$0\" \"$@\"\n' '''\n" % shlex.quote(python))


def script_in(path):
    """A script of Python without what says so; None: it is something else."""
    try:
        with open(path, "rb") as file:
            first = file.readline(4096)
            if not first.startswith(b"#!"):
                return None
            if b"python" in first:
                return file.read()
            second, _ = file.readline(4096), file.readline(4096)
            return file.read() if second.startswith(b"'''exec'") else None
    except OSError:  # a folder, or not for us to read
        return None


def install(wanted, folder):
    """pip's status. Paths in the file are beside it."""
    python = make(folder)
    ours = [os.path.join(folder, "pyvenv.cfg"), os.path.join(packages_of(folder), "behind.pth"),
            *(os.path.join(folder, "bin", name) for name in os.listdir(os.path.join(folder, "bin")))]
    made = {path: os.lstat(path).st_mtime_ns for path in ours}
    status = subprocess.call([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir", "-r", os.path.abspath(wanted)],
                             cwd=os.path.dirname(os.path.abspath(wanted)), env={name: value for name, value in os.environ.items() if name not in PLACES})
    for path in ours:
        if os.path.lexists(path) and os.lstat(path).st_mtime_ns == made[path]:  # else a package has a command of that name
            os.remove(path)
    return status


def run(command):
    before = [path for path in [os.environ.get("TEXTMILL_REQUIREMENTS")] if path]
    own = tempfile.mkdtemp(prefix="python-")
    python = make(own, before)
    places = [path for path in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(python), *(os.path.join(path, "bin") for path in before), os.path.join(sys.prefix, "bin"), *places])
    os.environ["VIRTUAL_ENV"] = own
    # Where Jupyter's programs look beside the environment that they run in.
    os.environ.setdefault("JUPYTER_PATH", os.pathsep.join(os.path.join(path, "share", "jupyter") for path in [*before, sys.prefix]))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit("cannot start %s: %s" % (command[0], error.strerror))


if __name__ == "__main__":
    if sys.argv[1] == "--install":
        sys.exit(install(*sys.argv[2:]))
    run(sys.argv[1:])
