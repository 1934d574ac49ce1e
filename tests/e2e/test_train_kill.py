"""Killed anywhere, a run resumes to the same bytes."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.servers import await_that
from tiny_models import reviews, tiny_bert

ROUNDS = 25 if os.environ.get("TEXTMILL_SOAK") else 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return {"model": tiny_bert(folder / "base"), "train": reviews(folder / "train.tsv", 300),
            "validation": reviews(folder / "validation.tsv", 60, seed=1, labels=("pos", "neg"))}  # the first epoch is the best


@pytest.fixture
def command(build, inputs):
    """The command line of a run: 2 epochs of 75 steps; dropout, accumulation, evaluation and clipping are on."""

    def make(output, *more, every=5, threads=2):
        paths = [f"--{name}={path}" for name, path in inputs.items()]
        return [build / "textmill", "train", *paths, f"--output={output}", "--epochs=2", "--batch-size=2",
                "--gradient-accumulation=2", "--learning-rate=1e-3", "--seed=3", f"--checkpoint-every={every}",
                f"--threads={threads}", *more]

    return make


@pytest.fixture(scope="module")
def unbroken(build, inputs, tmp_path_factory):
    """What a run leaves that nobody disturbs, on one thread, with few checkpoints."""
    output = tmp_path_factory.mktemp("unbroken") / "out"
    paths = [f"--{name}={path}" for name, path in inputs.items()]
    subprocess.run([build / "textmill", "train", *paths, f"--output={output}", "--epochs=2", "--batch-size=2",
                    "--gradient-accumulation=2", "--learning-rate=1e-3", "--seed=3", "--threads=1"], check=True)
    assert results(output)["best"] == 1
    return results(output)


def results(output):
    """All that must not depend on interruptions: weights, history, scores, order of ids."""
    run = json.loads((output / "run.json").read_text())
    return {"weights": hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest(),
            "history": (output / "metrics.jsonl").read_text(), "epochs": run["epochs"], "best": run["best_epoch"],
            "config": (output / "config.json").read_text(), "files": sorted(file.name for file in output.iterdir())}


def interrupt(command, number, wanted):
    """Starts the run and sends the signal as soon as a line of its log is `wanted`. The exit status, the log."""
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log, sent = "", 0
    for line in run.stderr:
        log += line
        if wanted(line):
            run.send_signal(number)
            sent = time.monotonic()
            break
    log += run.stderr.read()
    status = run.wait(timeout=60)
    assert time.monotonic() - sent < 10, "what people are promised, whatever the signal"
    return status, log


def resumed_at(log):
    found = re.search(r"resumed .*step=(\d+)", log)
    return int(found[1]) if found else 0


def finish(command):
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def nth(pattern, count):
    """Says yes to the line that is the count-th with this pattern."""
    seen = iter(range(1, 10**6))
    return lambda line: re.search(pattern, line) is not None and next(seen) == count


def test_kill_9_again_and_again(tmp_path, command, unbroken):
    """Nearly all the time goes into writing checkpoints (one per step), so most kills fall into the middle of one."""
    rng = random.Random(5)
    before = 0
    for attempt in range(ROUNDS):
        line = nth(" checkpoint ", rng.randint(1, 120 // ROUNDS))
        status, log = interrupt(command(tmp_path / "out", "--resume", every=1, threads=attempt % 3 + 1), signal.SIGKILL, line)
        assert status == -signal.SIGKILL, f"the kill came before the end\n{log}"
        if attempt:
            assert resumed_at(log) >= max(1, before), f"it resumed from what was there\n{log}"
        before = max(before, resumed_at(log))
    log = finish(command(tmp_path / "out", "--resume", threads=3))
    assert resumed_at(log) > 0
    assert results(tmp_path / "out") == unbroken
    run = json.loads((tmp_path / "out/run.json").read_text())
    here = 150 - resumed_at(log)
    assert run["seconds"]["steps"] > 0 and run["samples_per_second"] * (run["seconds"]["tokenize"] + run["seconds"]["steps"]) > 4.5 * here, "the record is of all its processes"
    left = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert left == [".lock", "step-000000000145", "step-000000000150"]


def test_kill_9_at_any_time(tmp_path, command, unbroken):
    """While it starts, reads, trains, evaluates, writes: wherever it happens to be."""
    started = time.monotonic()
    finish(command(tmp_path / "whole", every=7))
    whole, rng, kills = time.monotonic() - started, random.Random(11), 0
    for attempt in range(2 * ROUNDS):
        run = subprocess.Popen(command(tmp_path / "out", "--resume", every=7, threads=attempt % 3 + 1), stderr=subprocess.PIPE)
        try:
            run.communicate(timeout=rng.uniform(0, 0.4 * whole))
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
        assert run.returncode in (0, -signal.SIGKILL)
        if run.returncode == 0:
            break
        kills += 1
    assert kills >= 2
    finish(command(tmp_path / "out", "--resume", every=7))
    assert results(tmp_path / "out") == unbroken


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal(number, status, tmp_path, command, unbroken):
    # No checkpoint is due before the epoch's end (step 75): what is resumed was written because of the signal.
    for steps in (1, 3):
        found, log = interrupt(command(tmp_path / "out", "--resume", every=0), number, nth("step=", steps))
        assert found == status, log
        at = int(re.search(r"stopped step=(\d+)", log)[1])
        assert 0 < at < 150 and at % 75, log
    log = finish(command(tmp_path / "out", "--resume", every=0, threads=1))
    assert resumed_at(log) == at
    assert results(tmp_path / "out") == unbroken


def test_sigterm_in_the_middle_of_a_long_step(build, minilm, tmp_path):
    """A step here takes a minute and more: it is given up, and the run ends within 10 s."""
    (tmp_path / "train.tsv").write_text("label\ttext\n" + "".join(f"{i % 2}\t{'the film was very good ' * 60}\n" for i in range(512)))
    command = [build / "textmill", "train", "--model", minilm, "--train", tmp_path / "train.tsv", "--output", tmp_path / "out",
               "--batch-size=512", "--max-length=256", "--epochs=1", "--threads=2"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    next(line for line in run.stderr if "fresh_weights" in line)
    ticks = os.sysconf("SC_CLK_TCK")
    await_that(lambda: int(open(f"/proc/{run.pid}/stat").read().rsplit(")", 1)[1].split()[11]) > 4 * ticks, "it computes", 60)
    run.send_signal(signal.SIGTERM)
    log = run.communicate(timeout=10)[1]
    assert run.returncode == 143 and "stopped step=0 " in log, log


def test_a_checkpoint_holds_the_moments_of_rows_that_moved(build, inputs, tmp_path):
    """Of a large table most rows never had a gradient: they cost a stop no writing, and what is resumed is the same."""
    model = tiny_bert(tmp_path / "base", vocab_size=100_000)

    def command(name, *more):
        return [build / "textmill", "train", f"--model={model}", f"--train={inputs['train']}", f"--output={tmp_path / name}", "--epochs=1",
                "--batch-size=8", "--learning-rate=1e-3", *more]

    finish(command("unbroken"))
    status, log = interrupt(command("out"), signal.SIGTERM, nth("step=", 1))
    assert status == 143, log
    [checkpoint] = (tmp_path / "out" / "checkpoints").glob("step-*")
    moments = (checkpoint / "moments.safetensors").stat()
    assert moments.st_size > 2 * 4 * 64 * 100_000 and moments.st_blocks * 512 < moments.st_size / 20
    assert resumed_at(finish(command("out", "--resume"))) > 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "unbroken" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "run.json"])
def test_killed_while_it_writes_the_model(file, tmp_path, command, unbroken):
    """Just before the whole temporary file gets its name: the next run leaves nothing of it."""

    def traced(output, *injected):
        strace = ["strace", "-f", "-o", tmp_path / "trace", "-e", "trace=rename", *injected]
        return subprocess.run([*strace, *command(output, every=0)], stderr=subprocess.DEVNULL).returncode

    assert traced(tmp_path / "counted") == 0
    renames = re.findall(r"^(\d+) +rename\((.*)", (tmp_path / "trace").read_text(), re.M)
    writer = next(thread for thread, call in renames if f'counted/{file}"' in call)  # strace counts each thread's calls alone
    when = next(i for i, call in enumerate((call for thread, call in renames if thread == writer), 1) if f'counted/{file}"' in call)
    assert traced(tmp_path / "out", "-e", f"inject=rename:signal=SIGKILL:when={when}") == -signal.SIGKILL
    assert list((tmp_path / "out").glob(f"{file}.tmp-*")) and not (tmp_path / "out" / file).exists()
    assert resumed_at(finish(command(tmp_path / "out", "--resume", every=0))) == 150
    assert results(tmp_path / "out") == unbroken


def test_another_model_configuration_or_cpu_path_is_refused(inputs, tmp_path, command, unbroken):
    """Whatever would lead to other bytes than those of the unbroken run."""
    model = shutil.copytree(inputs["model"], tmp_path / "model")
    again = [*command(tmp_path / "out", "--resume"), f"--model={model}"]
    again.remove(f"--model={inputs['model']}")
    _, log = interrupt(again, signal.SIGKILL, nth(" checkpoint ", 2))
    precision, cpu = re.search(r" engine precision=(\S+) .*cpu=(\S+)", log).groups()
    config = json.loads((model / "config.json").read_text())

    def refusal(**environment):
        done = subprocess.run(again, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
        assert done.returncode == 2, done.stderr
        return done.stderr

    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-2}))
    assert "recipe.model: the run had" in refusal()
    (model / "config.json").write_bytes((inputs["model"] / "config.json").read_bytes())
    if cpu != "portable":  # which all machines of today are not
        assert f'recipe.cpu: the run had "{cpu}", now it is "portable"' in refusal(TEXTMILL_CPU="portable", TEXTMILL_PRECISION=precision)
    finish(again)
    assert results(tmp_path / "out") == unbroken


@pytest.mark.parametrize("victim", ["weights.safetensors", "moments.safetensors", "best.safetensors", "state.json", "manifest", None])
def test_the_checkpoint_before_a_damaged_one_is_used(victim, tmp_path, command, unbroken):
    checkpoints = 20 if victim == "best.safetensors" else 4  # it comes with the end of an epoch; then both have the same
    interrupt(command(tmp_path / "out"), signal.SIGKILL, nth(" checkpoint ", checkpoints))
    older, newest = sorted((tmp_path / "out" / "checkpoints").glob("step-*"))[-2:]
    if victim:
        content = bytearray((newest / victim).read_bytes())
        content[len(content) // 2] ^= 1
        (newest / victim).write_bytes(content)
    else:
        (newest / "best.safetensors").unlink(missing_ok=True)
        (newest / "metrics.jsonl").unlink()
    refused = subprocess.run([*command(tmp_path / "out", "--resume"), "--weight-decay=0.5"], capture_output=True, text=True)
    assert refused.returncode == 2 and "recipe.weight_decay" in refused.stderr and newest.exists(), "who asks for another run damages nothing"
    log = finish(command(tmp_path / "out", "--resume"))
    assert f"checkpoint_damaged checkpoint={newest}" in log
    assert resumed_at(log) == int(older.name[5:])
    assert results(tmp_path / "out") == unbroken


def test_without_a_checkpoint_it_starts_fresh_and_says_so(tmp_path, command, unbroken):
    log = finish(command(tmp_path / "out", "--resume"))
    assert "no_checkpoint" in log and resumed_at(log) == 0
    assert results(tmp_path / "out") == unbroken


def test_a_newer_format_is_refused(tmp_path, command):
    interrupt(command(tmp_path / "out"), signal.SIGKILL, nth(" checkpoint ", 1))
    newest = max((tmp_path / "out" / "checkpoints").glob("step-*"))
    table = crc32c_table()
    text = (newest / "manifest").read_text().splitlines(keepends=True)
    body = "textmill 9\n" + "".join(text[1:-1])
    (newest / "manifest").write_text(body + f"{crc32c(body.encode(), table):08x} manifest\n")
    done = subprocess.run(command(tmp_path / "out", "--resume"), stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "written by a newer textmill (format 9" in done.stderr


def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table


def crc32c(data, table):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def test_a_second_run_on_the_same_folder_is_refused(tmp_path, command):
    first = subprocess.Popen(command(tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    try:
        next(line for line in first.stderr if "step=" in line)
        second = subprocess.run(command(tmp_path / "out", "--resume"), stderr=subprocess.PIPE, text=True)
        assert second.returncode == 2 and str(tmp_path / "out") in second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_run_that_another_overtook_while_it_loaded_touches_nothing(tmp_path, command, inputs, more):
    shutil.copytree(inputs["model"], tmp_path / "slow")
    os.rename(tmp_path / "slow" / "vocab.txt", tmp_path / "vocab.txt")
    os.mkfifo(tmp_path / "slow" / "vocab.txt")
    words = [f"--model={tmp_path / 'slow'}" if str(word).startswith("--model=") else word for word in command(tmp_path / "out", *more)]
    second = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "slow" / "vocab.txt", "w") as pipe:  # opened: it has seen that nobody was there
        finish(command(tmp_path / "out"))
        before = {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()}
        os.replace(tmp_path / "vocab.txt", tmp_path / "slow" / "vocab.txt")  # for whoever opens it again
        pipe.write((tmp_path / "slow" / "vocab.txt").read_text())
    said = second.communicate(timeout=60)[1]
    assert second.returncode == 2 and str(tmp_path / "out") in said, said
    assert {file: file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()} == before
