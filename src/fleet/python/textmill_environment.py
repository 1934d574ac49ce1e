"""Runs a program in a Python environment of its own, which has this Python's behind it: what is there counts as installed and
stays as it is, what pip adds is the program's alone, and may be newer.

    textmill_environment.py COMMAND...                             the program, with its environment's commands first in PATH
    textmill_environment.py --install REQUIREMENTS.TXT FOLDER      what the file names beside this environment, for
                                                                   TEXTMILL_REQUIREMENTS of such programs

pip's own --target would take an environment for empty, and bring all that it holds anew. This file runs on Python 3.6 too."""

import os
import shlex
import shutil
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


def make(folder, before=()):
    """An environment as the venv module makes them, without pip: `before` and this one's packages come after its own. Its Python
    and its folder of packages."""
    packages, commands, base = os.path.join(folder, "lib", VERSION, "site-packages"), os.path.join(folder, "bin"), base_python()
    os.makedirs(packages)
    os.makedirs(commands)
    with open(os.path.join(folder, "pyvenv.cfg"), "w") as out:
        out.write("home = %s\ninclude-system-site-packages = false\nversion = %s\n" % (os.path.dirname(base), sys.version.split()[0]))
    python = os.path.join(commands, "python")
    for name in ("python", "python3", VERSION):
        os.symlink(base, os.path.join(commands, name))
    for name in ("pip", "pip3"):
        with open(os.path.join(commands, name), "w") as out:
            out.write('#!/bin/sh\nexec %s -m pip "$@"\n' % shlex.quote(python))
        os.chmod(os.path.join(commands, name), 0o755)
    with open(os.path.join(packages, "behind.pth"), "w") as out:
        for path in [*before, *sys.path]:
            if path in before or os.path.basename(path) in ("site-packages", "dist-packages"):
                out.write("import site; site.addsitedir(%r)\n" % path)
    return python, packages


def install(wanted, folder):
    """pip's status. Paths in the file are beside it."""
    own = os.path.join(folder, ".environment")
    python, packages = make(own)
    commands = os.path.dirname(python)
    known = set(os.listdir(packages)), set(os.listdir(commands))
    status = subprocess.call([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir", "-r", os.path.abspath(wanted)],
                             cwd=os.path.dirname(os.path.abspath(wanted)), env={name: value for name, value in os.environ.items() if name not in PLACES})
    if status == 0:
        for name in set(os.listdir(packages)) - known[0]:
            os.rename(os.path.join(packages, name), os.path.join(folder, name))
        os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
        for name in set(os.listdir(commands)) - known[1]:
            move_command(os.path.join(commands, name), os.path.join(folder, "bin", name), python)
    shutil.rmtree(own)
    return status


def move_command(path, to, python):
    """A script's first line names the Python that is gone: it becomes the first in PATH."""
    os.rename(path, to)
    with open(to, "rb") as file:
        text = file.read()
    python = os.fsencode(python)
    with open(to, "wb") as file:
        file.write(text.replace(b"#!" + python, b"#!/usr/bin/env python").replace(python, b"python"))


def run(command):
    installed = [path for path in [os.environ.get("TEXTMILL_REQUIREMENTS")] if path]
    own = tempfile.mkdtemp(prefix="python-")
    python, packages = make(own, installed)
    environment = dict(os.environ, VIRTUAL_ENV=own)
    places = [os.path.dirname(python), *[os.path.join(path, "bin") for path in installed], environment.get("PATH", os.defpath)]
    environment["PATH"] = os.pathsep.join(places)
    # For commands of the environment behind, which run its Python.
    environment["PYTHONPATH"] = os.pathsep.join([packages, *installed, *filter(None, [environment.get("PYTHONPATH")])])
    os.environ["PATH"] = environment["PATH"]  # where execvpe looks
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        sys.exit("cannot start %s: %s" % (command[0], error.strerror))


if __name__ == "__main__":
    if sys.argv[1] == "--install":
        sys.exit(install(*sys.argv[2:]))
    run(sys.argv[1:])
