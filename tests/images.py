"""Images of containers for tests: made from files, kept by podman in a folder of the test's own."""

import contextlib
import io
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")


class Podman:
    """A container engine whose images and containers are all below a folder; `program` is what a server is told."""

    def __init__(self, folder: Path):
        self.folder, self.program = folder, folder / "podman"
        (folder / "containers.conf").write_text('[engine]\nlock_type = "file"\n')  # else in /dev/shm
        (folder / "lib").mkdir()
        settings = {"CONTAINERS_CONF": folder / "containers.conf"} | {f"XDG_{name}": folder / "lib" for name in ("RUNTIME_DIR", "DATA_HOME", "CONFIG_HOME")}
        exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in settings.items())
        places = " ".join(f"--{name} {shlex.quote(str(folder / name))}" for name in ("root", "runroot", "tmpdir"))
        self.program.write_text(f'#!/bin/sh\n{exports}exec {shutil.which("podman")} --storage-driver vfs {places} "$@"\n')
        self.program.chmod(0o755)

    def __call__(self, *arguments):
        words = [self.program, *arguments]
        if os.geteuid() == 0:  # what root's keeps of images elsewhere, and no setting names, is a folder of ours
            words = ["unshare", "--mount", "sh", "-c", 'mkdir -p /var/lib/containers && mount --bind "$0" /var/lib/containers && exec "$@"', self.folder / "lib", *words]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self):
        """Of a user's podman a process stays."""
        with contextlib.suppress(FileNotFoundError):
            os.kill(int((self.folder / "tmpdir/pause.pid").read_text()), signal.SIGKILL)

    def add(self, name, files, *changes):
        """An image of these files ("ENTRYPOINT [...]" and the like are changes); its name."""
        archive = self.folder / "image.tar"
        pack(archive, files)
        self("import", *(word for change in changes for word in ("--change", change)), archive, name)
        archive.unlink()
        return name


def pack(archive, files):
    """A tar archive of {name: bytes (what may be run), a path, or "-> target" for a symbolic link}."""
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, Path):
                tar.add(os.path.realpath(content), name, filter=owned_by_root)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content.removeprefix("-> ")
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))


def owned_by_root(info):
    info.uid = info.gid = 0
    return info


def busybox():
    """Its files: a shell and what belongs to it."""
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return {"bin/busybox": BUSYBOX} | {f"bin/{name}": "-> busybox" for name in names if name != "busybox"}


def program_and_libraries(program, inside):
    """A program of this machine under a name in the image, with the libraries that it loads."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [word for line in lines for word in line.split() if word.startswith("/")]
    return {inside: Path(program)} | {path.lstrip("/"): Path(path) for path in paths}
