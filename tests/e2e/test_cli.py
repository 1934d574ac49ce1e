"""The program as people type it: help, refusals, where values come from, completion, exit statuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile

import pytest

from tests.conftest import ROOT
from tiny_models import tiny_bert

COMMANDS = ["train", "evaluate", "predict", "quantize", "serve", "tokenize", "describe"]


@pytest.fixture()
def tokenizer(tmp_path):
    """A folder with a small vocab.txt."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\nworld\n##s\n!\n")
    return folder


def refused(textmill, *arguments, **kwargs) -> str:
    """The one line that says why."""
    done = textmill(*arguments, check=False, **kwargs)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("textmill: "), done.stderr
    return lines[0].removeprefix("textmill: ")


def ids(done) -> list:
    return [json.loads(line)["ids"] for line in done.stdout.splitlines()]


def test_help_names_every_command(textmill):
    for arguments in ([], ["--help"], ["help"], ["-h"]):
        done = textmill(*arguments)
        assert re.findall(r"^  (\w+) ", done.stdout, re.M)[: len(COMMANDS)] == COMMANDS
        assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(textmill, command):
    done = textmill(command, "--help")
    assert done.stdout.startswith(f"textmill {command}: ")
    assert "--log-level" in done.stdout and "TEXTMILL_MAX_LENGTH" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert textmill("help", command).stdout == done.stdout


def test_help_is_complete(textmill):
    flags = set(re.findall(r"^  --([a-z-]+)", textmill("train", "--help").stdout, re.M))
    assert flags >= {"task", "model", "train", "validation", "output", "text", "text-pair", "label", "epochs", "batch-size",
                     "learning-rate", "warmup-ratio", "weight-decay", "max-length", "seed", "threads", "precision", "dropout",
                     "max-grad-norm", "gradient-accumulation", "checkpoint-every", "resume"}
    flags = set(re.findall(r"^  --([a-z-]+)", textmill("serve", "--help").stdout, re.M))
    assert flags >= {"listen", "max-batch-tokens", "max-queue", "max-body", "precision", "threads", "max-length"}


def test_version_has_the_commit(textmill):
    commit = r" \([0-9a-f]{7,}\)" if (ROOT / ".git").exists() else r"( \([0-9a-f]{7,}\))?"
    assert re.fullmatch(rf"textmill \d+\.\d+\.\d+{commit}\n", textmill("--version").stdout)


def test_results_go_to_stdout_and_logs_to_stderr(textmill, tokenizer, tmp_path):
    (tmp_path / "d.tsv").write_text("label\ttext\n1\thello worlds\n0\thello!\n")
    done = textmill("tokenize", tokenizer, "--data", tmp_path / "d.tsv", "--text", "text", "--log-format", "json")
    assert ids(done) == [[2, 4, 5, 6, 3], [2, 4, 7, 3]]
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["data"]
    assert textmill("tokenize", tokenizer, "hello", "--log-level", "error").stderr == ""


def test_tokenize(textmill, tokenizer):
    done = textmill("tokenize", tokenizer, "Hello wörlds!", "world\u0301")
    assert json.loads(done.stdout) == {
        "ids": [2, 4, 5, 6, 7, 3, 5, 3], "tokens": ["[CLS]", "hello", "world", "##s", "!", "[SEP]", "world", "[SEP]"],
        "offsets": [[0, 0], [0, 5], [6, 11], [11, 12], [12, 13], [0, 0], [0, 5], [0, 0]], "type_ids": [0] * 6 + [1] * 2}
    assert ids(textmill("tokenize", tokenizer, "--max-length=3", "--", "--hello")) == [[2, 1, 3]]
    assert ids(textmill("tokenize", tokenizer, "hello", "--no-special-tokens")) == [[4]]


def test_jsonl_and_csv_of_pairs(textmill, tokenizer, tmp_path):
    (tmp_path / "d.jsonl").write_text('{"a": "hello\\nworld", "b": "!"}\n')
    (tmp_path / "d.csv").write_text('a,b\n"hello\nworld","!"\n')
    for name in ("d.jsonl", "d.csv"):
        done = textmill("tokenize", tokenizer, "--data", tmp_path / name, "--text", "a", "--text-pair", "b")
        assert ids(done) == [[2, 4, 5, 3, 7, 3]]


@pytest.mark.parametrize("arguments, said", [
    (["tokenise"], "tokenise: no such command; did you mean tokenize?"),
    (["xyzzy"], "xyzzy: no such command"),
    (["help", "trian"], "trian: no such command; did you mean train?"),
    (["tokenize"], "MODEL is missing: a folder with tokenizer.json or vocab.txt"),
    (["tokenize", "M"], "TEXT or --data is missing"),
    (["tokenize", "M", "T", "--data", "D"], "TEXT 'T' and --data exclude each other"),
    (["tokenize", "M", "T", "P", "more"], "'more': one argument too many"),
    (["tokenize", "M", "T", "--max-lenght", "3"], "--max-lenght: no such option; did you mean --max-length?"),
    (["tokenize", "M", "T", "--max_length", "3"], "--max_length: no such option; did you mean --max-length?"),
    (["tokenize", "M", "T", "---max-length", "3"], "---max-length: no such option; did you mean --max-length?"),
    (["tokenize", "M", "T", "--text", "a"], "--text names a column of --data, which is missing"),
    (["predict", "M", "T", "--text-pair", "a"], "--text-pair names a column of --data, which is missing"),
    (["predict", "M"], "TEXT or --data is missing"),
    (["predict", "M", "T", "--data", "D"], "TEXT 'T' and --data exclude each other"),
    (["predict", "M", "T", "--resume"], "--resume: no such option"),
    (["evaluate", "M", "T"], "'T': one argument too many"),
    (["evaluate", "M", "--data", "D", "--text-pair", "b", "--positve", "1"], "--positve: no such option; did you mean --positive?"),
    (["train", "M"], "'M': one argument too many"),
    (["train", "--model", "M", "--train", "F"], "--output is missing"),
    (["train", "--model", "M", "--train", "F", "--output", "O", "--text-pair", "b"], "text-pair: needs text, the column of the first text"),
    (["train", "--model", "M", "--train", "F", "--output", "O", "--task", "summarization"], "--task: 'summarization' is not a task; known: text-classification"),
    (["train", "--model", "M", "--train", "F", "--output", "O", "--batch-size", "1000000", "--gradient-accumulation", "1000000"],
     "batch-size 1000000 times gradient-accumulation 1000000 is too large"),
    (["serve", "M", "--listen", "8080"], "--listen 8080: expected ADDRESS:PORT"),
    (["serve", "M", "--listen", "127.0.0.1:99999"], "--listen 127.0.0.1:99999: expected ADDRESS:PORT"),
    (["describe", "M", "--threads", "2"], "--threads: only with --calibrate"),
    (["--verison"], "--verison: no such command; did you mean --version?"),
    (["--version", "extra"], "'extra': one argument too many"),
    (["completion", "bash", "zsh"], "'zsh': one argument too many"),
    (["tokenize", "M", "T", "-m", "3"], "-m: options begin with --"),
    (["tokenize", "M", "T", "--max-length"], "--max-length: takes N"),
    (["tokenize", "M", "T", "--max-length", "x"], "--max-length: 'x' is not a whole number of at least 1"),
    (["tokenize", "M", "T", "--max-length=0"], "--max-length: '0' is not a whole number of at least 1"),
    (["tokenize", "M", "T", "--max-length=3", "--max-length=4"], "--max-length: given twice"),
    (["tokenize", "M", "T", "--log-level", "warn"], "--log-level: 'warn' is none of debug, info, warning, error"),
    (["predict", "M", "T", "--precision", "fp32"], "--precision: 'fp32' is none of bf16, f32; did you mean f32?"),
    (["evaluate", "M"], "--data is missing"),
    (["train", "--model", "M", "--output", "O"], "--train is missing"),
    (["train", "--model", "--train", "F", "--output", "O"], "--model: takes DIR, got --train"),
    (["train", "--model", "--train=F", "--output", "O"], "--model: takes DIR, got --train=F"),
    (["train", "--model", "M", "--train", "F", "--output", "O", "--epochs", "0"], "--epochs: '0' is not a whole number of at least 1"),
    (["train", "--model", "M", "--train", "F", "--output", ""], "--output: takes DIR, got nothing"),
    (["predict", "M", "--data="], "--data: takes F, got nothing"),
    (["train", "--resume=maybe"], "--resume: 'maybe' is none of true, false, 1, 0"),
    (["completion", "tcsh"], "completion: 'tcsh' is none of bash, zsh, fish"),
    (["tokenize", "/no/such/folder", "T"], "/no/such/folder: neither tokenizer.json nor vocab.txt is there"),
])
def test_refusals(textmill, arguments, said, tmp_path):
    assert refused(textmill, *arguments, cwd=tmp_path).startswith(said)


def test_bad_data_names_file_and_line(textmill, tokenizer, tmp_path):
    (tmp_path / "d.tsv").write_bytes(b"text\tlabel\nhello\t1\nhel\xfflo\t0\n")
    done = textmill("tokenize", tokenizer, "--data", tmp_path / "d.tsv", "--text", "text", check=False)
    assert done.returncode == 2
    assert f"{tmp_path / 'd.tsv'}:3: " in done.stderr.splitlines()[-1]


def test_a_value_comes_from_flag_environment_file_default(textmill, tokenizer, tmp_path):
    environment = dict(os.environ)

    def length(*flags, **variables):
        done = textmill("tokenize", tokenizer, "hello hello hello hello", *flags, cwd=tmp_path, env=environment | variables)
        return len(ids(done)[0])

    assert length() == 6
    (tmp_path / "textmill.toml").write_text("max_length = 5\n")
    assert length() == 5
    (tmp_path / "textmill.toml").write_text("max_length = 5\n[tokenize]\nmax-length = 4\n[train]\nseed = 1\n")
    assert length() == 4
    assert length(TEXTMILL_MAX_LENGTH="3") == 3
    assert length("--max-length", "2", TEXTMILL_MAX_LENGTH="3") == 2
    (tmp_path / "other.toml").write_text("[tokenize]\nno_special_tokens = true\n")
    assert length("--config", "other.toml") == 4
    assert length(TEXTMILL_CONFIG="other.toml") == 4


@pytest.mark.parametrize("text, said", [
    ("max_lenght = 5", "textmill.toml:1: max_lenght: no such option; did you mean max-length?"),
    ("[tokenise]\nmax_length = 5", "textmill.toml:2: tokenise.max_length: no such command; did you mean tokenize?"),
    ("\n[train]\nepoch = 5", "textmill.toml:3: train.epoch: no such option; did you mean epochs?"),
    ("[tokenize]\ndata = 'x'", "textmill.toml:2: tokenize.data: --data is of one run: only a flag can say it"),
    ("[tokenize]\nmax_length = 'x'", "textmill.toml:2: tokenize.max_length: 'x' is not a whole number of at least 1"),
    ("max_length = ", "textmill.toml:1: "),
    ("[tokenize]\nmax_length = ''", "textmill.toml:2: tokenize.max_length: takes N, got nothing"),
])
def test_a_wrong_configuration_is_refused(textmill, tokenizer, tmp_path, text, said):
    (tmp_path / "textmill.toml").write_text(text)
    assert refused(textmill, "tokenize", tokenizer, "hello", cwd=tmp_path).startswith(said)


def test_wrong_variables_are_refused_by_name(textmill, tokenizer, tmp_path):
    environment = dict(os.environ, TEXTMILL_MAX_LENGTH="many")
    said = refused(textmill, "tokenize", tokenizer, "hello", cwd=tmp_path, env=environment)
    assert said == "TEXTMILL_MAX_LENGTH: 'many' is not a whole number of at least 1"


def test_inputs_do_not_come_from_the_environment(textmill, tokenizer):
    assert ids(textmill("tokenize", tokenizer, "hello", env=dict(os.environ, TEXTMILL_DATA="/else"))) == [[2, 4, 3]]


def test_hyperparameters_of_the_container(textmill, tmp_path):
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    environment = dict(os.environ, SAGEMAKER_BASE_DIR=str(tmp_path))
    (config / "hyperparameters.json").write_text(json.dumps({"epoch": "3"}))
    done = textmill("train", check=False, env=environment)
    assert done.returncode == 2 and "epoch: no such option; did you mean epochs?" in done.stderr
    assert "did you mean epochs?" in (tmp_path / "output" / "failure").read_text()
    (config / "hyperparameters.json").write_text(json.dumps({"batch_size": "8", "epochs": "1"}))
    done = textmill("train", check=False, env=environment)
    assert done.returncode == 2 and f"{tmp_path}/input/data/model: the channel is missing" in done.stderr


def test_errors_are_as_the_log_is(textmill, tmp_path):
    done = textmill("describe", tmp_path / "none", "--log-format", "json", check=False)
    event = json.loads(done.stderr)
    assert done.returncode == 2 and event["event"] == "failed" and event["level"] == "error" and f"{tmp_path}/none" in event["error"]
    assert textmill("completion", "--help").stdout.startswith("textmill")


def test_describe(textmill, minilm, tmp_path):
    assert json.loads(textmill("describe", minilm, env=os.environ | {"TEXTMILL_THREADS": "2"}).stdout)["parameters"] == 22_565_376
    assert json.loads(textmill("describe", minilm).stdout)["parameters"] == 22_565_376
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert textmill("describe", tmp_path, check=False).returncode == 2


def completions(build, words, folder) -> list:
    """What bash would offer for the last word."""
    script = subprocess.run([build / "textmill", "completion", "bash"], capture_output=True, text=True, check=True).stdout
    quoted = " ".join(f"'{word}'" for word in words)
    script += f"\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _textmill; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.split()


def test_bash_completion(build, tmp_path):
    assert completions(build, ["textmill", "t"], tmp_path) == ["train", "tokenize"]
    assert completions(build, ["textmill", "train", "--w"], tmp_path) == ["--warmup-ratio", "--weight-decay"]
    assert completions(build, ["textmill", "train", "--precision", ""], tmp_path) == ["bf16", "f32"]
    assert completions(build, ["textmill", "train", "--train", "x"], tmp_path) == []  # then bash offers files
    assert completions(build, ["textmill", "completion", "f"], tmp_path) == ["fish"]


@pytest.mark.parametrize("shell, check", [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])])
def test_completion_scripts_parse(textmill, tmp_path, shell, check):
    script = textmill("completion", shell).stdout
    assert "weight-decay" in script and "tokenize" in script
    if shutil.which(check[0]):
        (tmp_path / "script").write_text(script)
        subprocess.run([*check, tmp_path / "script"], check=True)


def test_results_that_nobody_can_get_are_a_failure(build, tokenizer):
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", build / "textmill", "tokenize", tokenizer, "a"], capture_output=True, text=True)
    assert done.returncode == 1 and "Bad file descriptor" in done.stderr, done


def test_a_full_disk_is_a_failure(build, tokenizer):
    with open("/dev/full", "w") as full:
        done = subprocess.run([build / "textmill", "tokenize", tokenizer, "hello"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "stdout: No space left on device" in done.stderr


def test_a_signal_ends_a_command(build, tokenizer, tmp_path):
    (tmp_path / "d.tsv").write_text("hello\n" * 20000)
    process = subprocess.Popen([build / "textmill", "tokenize", tokenizer, "--data", tmp_path / "d.tsv"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.read(1)  # nobody reads the rest, so it waits in the middle
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == -signal.SIGTERM  # a shell shows 143
    process.stdout.close()


def test_an_archive_leaves_nothing_behind(build, tmp_path):
    """Neither after a signal nor when the reader of stdout goes."""
    model = tiny_bert(tmp_path / "model", ["no", "yes"])
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(model, arcname=".")
    (tmp_path / "d.tsv").write_text("the film was great\n" * 20000)
    (tmp_path / "scratch").mkdir()
    for status, end in ((143, lambda p: p.send_signal(signal.SIGTERM)), (141, lambda p: None)):
        process = subprocess.Popen([build / "textmill", "predict", tmp_path / "model.tar.gz", "--data", tmp_path / "d.tsv"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"TMPDIR": str(tmp_path / "scratch")})
        process.stdout.read(1)
        assert len(list((tmp_path / "scratch").iterdir())) == 1
        end(process)
        process.stdout.close()
        assert process.wait(timeout=30) == status
        assert not list((tmp_path / "scratch").iterdir())


def test_only_the_libraries_of_every_debian(build):
    names = re.findall(r"^\s*(\S+)", subprocess.run(["ldd", build / "textmill"], capture_output=True, text=True, check=True).stdout, re.M)
    allowed = ("linux-vdso", "libstdc++", "libgcc_s", "libc.", "libm.", "/lib64/ld-linux")
    assert [name for name in names if not name.startswith(allowed)] == []
