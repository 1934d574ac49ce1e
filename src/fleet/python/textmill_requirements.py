"""Installs what a requirements.txt names beside this Python's environment, as `pip install -r` would do inside it: what is there
already, and fits, is neither fetched nor replaced.

    textmill_requirements.py REQUIREMENTS.TXT FOLDER      FOLDER is then one for PYTHONPATH

pip's own --target takes an environment for empty. Here it works in an environment of its own that has the other's packages
behind it: these count as installed, and it leaves them alone, as they are not its own."""

import glob
import os
import shutil
import subprocess
import sys
import venv

# Where packages go is said here.
PLACES = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER")


def install(wanted, folder):
    """pip's status. Paths in the file are beside it."""
    own = os.path.join(folder, ".environment")
    venv.EnvBuilder(symlinks=True).create(own)
    packages, = glob.glob(os.path.join(own, "lib", "python*", "site-packages"))
    behind = os.path.join(packages, "behind.pth")
    with open(behind, "w") as out:
        for path in sys.path:
            if os.path.basename(path) in ("site-packages", "dist-packages"):
                out.write(f"import site; site.addsitedir({path!r})\n")
    done = subprocess.run([os.path.join(own, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir",
                           "-r", os.path.abspath(wanted)], cwd=os.path.dirname(os.path.abspath(wanted)),
                          env={name: value for name, value in os.environ.items() if name not in PLACES})
    if done.returncode == 0:
        os.remove(behind)
        for name in os.listdir(packages):
            os.rename(os.path.join(packages, name), os.path.join(folder, name))
    shutil.rmtree(own)
    return done.returncode


if __name__ == "__main__":
    sys.exit(install(*sys.argv[1:]))
