"""Under load the server is killed (-9) at random moments; afterwards every fact that it acknowledged holds, every one
that was cut off happened whole or not at all, and nothing temporary stays."""

import os
import random
import threading

import pytest

from ..servers import Server
from .facts import EndpointConfigs, Events, Lost, Models, Objects, Tags, Values

KINDS = [Models, Models, Tags, EndpointConfigs, Objects, Objects, Events, Values]
KILLS = 300 if os.environ.get("TEXTMILL_SOAK") else 30


def leftovers(folder):
    """Files that only a process which runs could need."""
    return [p for p in (folder / "staging").rglob("*") if p.is_file()] + [p for p in folder.rglob("*.part")]


def kill_often(server: Server, kills: int, seed: int) -> str:
    """Throws Lost when a fact is lost. Says how it went."""
    chance = random.Random(seed)
    workers = [kind(i, seed * 100 + i) for i, kind in enumerate(KINDS)]
    inside = 0
    for round in range(kills):
        server.start()
        for worker in workers:
            worker.connect(server)
        for worker in workers:
            worker.check()
        cut_before = sum(w.cut_off for w in workers)
        stop = threading.Event()
        threads = [threading.Thread(target=w.load, args=(stop,)) for w in workers]
        for thread in threads:
            thread.start()
        stop.wait(chance.uniform(0.01, 0.4))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        inside += sum(w.cut_off for w in workers) > cut_before
    server.start()
    for worker in workers:
        worker.connect(server)
        worker.check(everything=True)
    assert server.stop() == 0
    assert not leftovers(server.folder)
    facts, cut, happened = (sum(getattr(w, what) for w in workers) for what in ("acknowledged", "cut_off", "happened"))
    assert inside >= kills / 2
    return f"{kills} kills, {inside} of them inside a request; {facts} facts acknowledged, none lost; {cut} requests cut off, of which {happened} had happened"


@pytest.fixture
def start(tmp_path):
    """start(program): its server, which does not outlive the test."""
    servers = []

    def make(program):
        servers.append(Server(program, tmp_path / "data"))
        return servers[-1]

    yield make
    for server in servers:
        if server.process and server.process.poll() is None:
            server.kill()


def test_no_acknowledged_fact_is_lost(build, start, capsys):
    said = kill_often(start(build / "textmill"), KILLS, seed=random.randrange(1 << 30))
    with capsys.disabled():
        print(f"\n{said}")


def test_a_server_that_acknowledges_too_early_is_found_out(build, start):
    """The same test over a program that answers before it commits (tests/CMakeLists.txt makes it): it must fail."""
    with pytest.raises(Lost):
        kill_often(start(build / "broken" / "textmill"), 10, seed=1)
