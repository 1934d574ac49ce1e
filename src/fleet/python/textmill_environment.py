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


def make(folder, before=()):
    """An environment as the venv module makes them, without pip: the packages of `before`, folders of such environments, and of
    this one come after its own. Its Python, and the files that make it one."""
    base, python = base_python(), os.path.join(folder, "bin", "python")
    config, behind = os.path.join(folder, "pyvenv.cfg"), os.path.join(packages_of(folder), "behind.pth")
    os.makedirs(packages_of(folder))
    os.makedirs(os.path.dirname(python))
    with open(config, "w") as out:
        # Of a plain installation the system's packages are this environment's own, and pip's --user works as it does there.
        out.write("home = %s\ninclude-system-site-packages = %s\nversion = %s\n"
                  % (os.path.dirname(base), "false" if is_venv() else "true", sys.version.split()[0]))
    links = [python, python + "3", os.path.join(folder, "bin", VERSION)]
    for link in links:
        os.symlink(base, link)
    with open(behind, "w") as out:
        for path in [*map(packages_of, before), *(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))]:
            out.write("import site; site.addsitedir(%r)\n" % path)
    return python, [config, behind, *links]


def copy_commands(python, places):
    """Commands that Pythons of `places` run, into the environment of `python`, which runs them then: programs look for their
    siblings beside themselves. The first of a name stays."""
    commands = os.path.dirname(python)
    scripts = {}
    for path in places:
        for name in os.listdir(path):
            script = None if name in scripts else script_in(os.path.join(path, name))
            if script is not None:
                scripts[name] = script
    for name, script in scripts.items():
        with open(os.path.join(commands, name), "wb") as out:
            out.write(first_line(python) + script)
        os.chmod(os.path.join(commands, name), 0o755)


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


def pip_install(wanted, folder, python=sys.executable):
    """pip's status. It begins in `folder`: paths are of there."""
    return subprocess.call([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir", *wanted], cwd=folder)


def install(wanted, folder):
    """pip's status."""
    for name in PLACES:
        os.environ.pop(name, None)
    python, scaffold = make(folder)
    status = pip_install(["-r", os.path.abspath(wanted)], os.path.dirname(os.path.abspath(wanted)), python)
    for path in scaffold:
        os.remove(path)
    return status


def run(command):
    before = [path for path in [os.environ.get("TEXTMILL_REQUIREMENTS")] if path]
    own = tempfile.mkdtemp(prefix="python-")
    python, _ = make(own, before)
    places = [os.path.join(path, "bin") for path in [*before, sys.prefix]]
    copy_commands(python, places)
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(python), *places, os.environ.get("PATH", os.defpath)])
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
