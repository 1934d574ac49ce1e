"""What brings textmill onto a machine: the set-up's three ways to packages, `make install`, and the demo's split of its data."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ..conftest import ROOT

TOOLS = ["sh", "dirname", "sed", "sort", "comm", "rm", "mkdir", "tr", "cat", "env", "head"]


@pytest.fixture
def machine(tmp_path):
    """A machine that has no package at all: who is asked for what stands in `asked`."""
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    for folder, file in (("tools", "setup.sh"), ("packaging", "debian-packages.txt")):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / file, tmp_path / folder / file)

    def stub(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    stub("dpkg-query", "exit 1")
    stub("apt-get", f'echo "$USER_NOW apt-get $*" >> {tmp_path}/asked')

    stub("apt-cache", "exit 0")

    def setup(user, sudo=False, wanted="build"):
        stub("id", f"echo {user}")
        if sudo:
            stub("sudo", 'USER_NOW=root exec "$@"')
        return subprocess.run([tmp_path / "tools/setup.sh", wanted], capture_output=True, text=True,
                              env={"PATH": str(tmp_path / "bin"), "USER_NOW": "root" if user == 0 else "user"})

    setup.asked = tmp_path / "asked"
    return setup


@pytest.mark.parametrize("user, sudo", [(0, False), (1000, True)])
def test_packages_are_installed_by_root_and_by_sudo(machine, user, sudo):
    done = machine(user, sudo)
    assert done.returncode == 0, done.stderr
    update, install = machine.asked.read_text().splitlines()
    assert update == "root apt-get update -qq" and install.startswith("root apt-get install -y --no-install-recommends ")
    assert {"g++", "cmake", "libboost1.81-dev"} <= set(install.split())


def test_without_either_the_one_line_is_printed(machine):
    done = machine(1000)
    assert done.returncode == 2 and not machine.asked.exists()
    assert "as root" in done.stderr and "\n  apt-get update && apt-get install -y --no-install-recommends " in done.stderr and "g++" in done.stderr


@pytest.mark.parametrize("user, sudo", [(0, False), (1000, True)])
def test_a_package_index_that_was_thrown_away_is_fetched(machine, user, sudo):
    """As images have it whose packages are all there: the demo reads the index."""
    assert machine(user, sudo, "apt-lists").returncode == 0
    assert machine.asked.read_text() == "root apt-get update -qq\n"


def test_a_package_index_that_is_there_is_taken(machine, tmp_path):
    (tmp_path / "bin" / "apt-cache").write_text("#!/bin/sh\necho 'Package: a'\n")
    assert machine(1000, False, "apt-lists").returncode == 0 and not machine.asked.exists()


def test_make_install(tmp_path):
    environment = os.environ | {"CCACHE_DISABLE": "1"}
    subprocess.run(["make", "-C", ROOT, "install", f"DESTDIR={tmp_path}", "PREFIX=/opt/mill"], check=True, capture_output=True, env=environment)
    files = {str(f.relative_to(tmp_path)): f for f in tmp_path.rglob("*") if f.is_file()}
    assert set(files) == {f"opt/mill/{f}" for f in ("bin/textmill", "lib/systemd/system/textmill.service", "share/doc/textmill/LICENSE", "share/doc/textmill/NOTICE")}
    program = files["opt/mill/bin/textmill"]
    assert program.stat().st_size <= 40e6
    assert subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.startswith("textmill ")
    unit = files["opt/mill/lib/systemd/system/textmill.service"].read_text()
    assert "ExecStart=/opt/mill/bin/textmill up" in unit and "/usr/local" not in unit and "KillMode=process" in unit
    if shutil.which("ldd"):
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
        assert {Path(name).name.split(".so")[0] for name in linked if ".so" in name} <= {"linux-vdso", "libc", "libm", "libstdc++", "libgcc_s", "ld-linux-x86-64"}


def test_the_demo_s_split():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "recipes/package_sections/demo.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    rows = [(f"source{i // 3}", f"section{i % 14 if i % 14 < 13 else 0}", f"text {i % 4000}") for i in range(6000)]  # sources of three, texts that come again
    train, held_out = demo.split(rows, 100_000)
    assert len({section for _, section, _ in train + held_out}) == 12, "the largest 12 of 13"
    assert not {source for source, _, _ in train} & {source for source, _, _ in held_out}
    texts = [text for _, _, text in held_out]
    assert held_out and not {text for _, _, text in train} & set(texts) and len(set(texts)) == len(texts)
