"""`textmill train`, `evaluate`, `predict`, `describe` as their users run them."""

import json
import math
import os
import pty
import re
import shutil
import signal
import subprocess
import tarfile

import pytest
import transformers

from tiny_models import reviews, tiny_bert


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return {"model": tiny_bert(folder / "base"), "train": reviews(folder / "train.tsv", 200),
            "validation": reviews(folder / "validation.tsv", 60, seed=1)}


def arguments(inputs, output, **options):
    options = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3, **inputs, "output": output, **options}
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


@pytest.fixture(scope="module")
def trained(inputs, build, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "out"
    done = subprocess.run([build / "textmill", "train", *arguments(inputs, output)], check=True, stderr=subprocess.PIPE, text=True)
    return output, done.stderr


def test_progress_is_lines_that_a_pattern_can_read(trained):
    _, log = trained
    lines = re.findall(r"^epoch=(\d+) step=(\d+)/75 loss=([0-9.]+) samples_per_second=([0-9.]+)$", log, re.M)
    assert [int(step) for _, step, *_ in lines] == [10, 20, 25, 30, 40, 50, 60, 70, 75]
    assert float(lines[-1][2]) < float(lines[0][2])
    assert len(re.findall(r"^epoch=\d validation_accuracy=", log, re.M)) == 3
    for word in ("fresh_weights", "classifier.weight", "max_length=64", "guessed", "rows=200 labels=2"):
        assert word in log


def test_the_rate_that_is_printed_is_that_of_the_record(inputs, textmill, tmp_path):
    log = textmill("train", *arguments(inputs, tmp_path / "out", epochs=1, batch_size=200)).stderr
    printed = float(re.search(r"step=1/1 .* samples_per_second=([0-9.]+)$", log, re.M)[1])
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["samples_per_second"] <= printed + 0.1 and printed < 3 * run["samples_per_second"], "a step's seconds count as its rows do"


@pytest.mark.parametrize("name", ["README.md", "config.json", "tokenizer.json"])
def test_an_output_that_holds_files_of_others(name, inputs, textmill, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.log").write_text("a log is in nobody's way")
    textmill("train", *arguments(inputs, tmp_path / "out", epochs=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    for options in ([], ["--resume"]):
        done = textmill("train", *arguments(inputs, tmp_path / "mine", epochs=1), *options, check=False)
        assert done.returncode == 2 and f"mine holds {name}, which is of no run" in done.stderr, done.stderr
        assert [file.read_text() for file in (tmp_path / "mine").iterdir()] == ["mine"]


def test_resuming_what_is_finished_changes_nothing(trained, inputs, textmill, tmp_path):
    output = shutil.copytree(trained[0], tmp_path / "out")
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    assert " finished_before " in textmill("train", *arguments(inputs, output), "--resume").stderr
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("where", ["full", "closed", "left"])
def test_a_log_that_nobody_takes(where, inputs, build, tmp_path):
    command = [build / "textmill", "train", *arguments(inputs, tmp_path / "out", epochs=1)]
    if where == "full":
        status = subprocess.run(command, stderr=open("/dev/full", "w")).returncode
    elif where == "closed":
        status = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command]).returncode
    else:
        run = subprocess.Popen(command, stderr=subprocess.PIPE)
        run.stderr.readline()
        run.stderr.close()
        status = run.wait()
    assert status == 0 and (tmp_path / "out/model.safetensors").exists()
    assert subprocess.run([build / "textmill", "predict", tmp_path / "none", "x"], stderr=open("/dev/full", "w")).returncode == 2


@pytest.mark.parametrize("before, status", [(signal.SIG_DFL, 129), (signal.SIG_IGN, 143)])  # the second as nohup has it
def test_a_terminal_that_closes(before, status, build, inputs, tmp_path):
    run = subprocess.Popen([build / "textmill", "train", *arguments(inputs, tmp_path / "out", epochs=1000)], stderr=subprocess.PIPE, text=True,
                           preexec_fn=lambda: signal.signal(signal.SIGHUP, before))
    assert any("step=10/" in line for line in run.stderr)
    run.send_signal(signal.SIGHUP)
    if status == 143:
        assert any("step=100/" in line for line in run.stderr), "it goes on"
        run.terminate()
    assert "stopped" in run.stderr.read() and run.wait() == status
    assert list((tmp_path / "out/checkpoints").glob("step-*"))


def test_a_terminal_gets_a_bar(inputs, build, tmp_path):
    reader, writer = pty.openpty()
    run = subprocess.Popen([build / "textmill", "train", *arguments(inputs, tmp_path / "out", epochs=1)], stderr=writer)
    os.close(writer)
    output = b""
    try:
        while chunk := os.read(reader, 4096):
            output += chunk
    except OSError:  # the terminal's other end is closed
        pass
    os.close(reader)
    assert run.wait() == 0
    assert b"\r" in output and b"epoch 1/1  [" in output and b"samples/s" in output and b"] 25/25" in output
    assert re.search(rb"(\r\x1b\[K|\n)\S+ info +checkpoint step=25", output), "a line of the log takes the bar's place"


def test_run_json_and_the_card(trained, inputs):
    output, _ = trained
    run = json.loads((output / "run.json").read_text())
    assert run["steps"] == 75 and len(run["epochs"]) == 3 and run["labels"] == ["neg", "pos"]
    assert run["recipe"]["batch_size"] == 8 and run["recipe"]["precision"] in ("bf16", "f32")
    assert run["train"]["rows"] == 200 and re.fullmatch("[0-9a-f]{64}", run["train"]["sha256"])
    assert run["samples_per_second"] > 0 and run["seconds"]["total"] > 0
    card = (output / "README.md").read_text()
    assert run["train"]["sha256"] in card and run["recipe"]["precision"] in card and "validation" in card
    best = run["epochs"][run["best_epoch"] - 1]
    assert f"{best['validation']['accuracy']:.4f}" in card
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 75


def test_evaluate_agrees_with_training(trained, inputs, textmill):
    output, _ = trained
    run = json.loads((output / "run.json").read_text())
    scores = json.loads(textmill("evaluate", output, "--data", inputs["validation"]).stdout)
    assert scores == run["epochs"][run["best_epoch"] - 1]["validation"]
    assert scores["count"] == 60 and scores["positive"] == "pos" and sum(map(sum, scores["confusion_matrix"])) == 60
    assert scores["accuracy"] > 0.9
    other = json.loads(textmill("evaluate", output, "--data", inputs["validation"], "--positive", "neg").stdout)
    assert other["positive"] == "neg" and other["accuracy"] == scores["accuracy"]


def test_the_best_epoch_s_weights_are_kept(inputs, textmill, tmp_path):
    validation = reviews(tmp_path / "worse.tsv", 60, seed=1, labels=("pos", "neg"))
    textmill("train", *arguments({**inputs, "validation": validation}, tmp_path / "out"))
    epochs = json.loads((tmp_path / "out" / "run.json").read_text())["epochs"]
    accuracy = [epoch["validation"]["accuracy"] for epoch in epochs]
    best = accuracy.index(max(accuracy))
    assert best == 0 and accuracy[0] > accuracy[-1], accuracy
    scores = json.loads(textmill("evaluate", tmp_path / "out", "--data", validation).stdout)
    assert scores == epochs[best]["validation"] != epochs[-1]["validation"]


def test_predict(trained, inputs, textmill):
    output, _ = trained
    one = json.loads(textmill("predict", output, "the film was great").stdout)
    assert one["label"] == "pos" and 0.5 < one["score"] <= 1
    lines = [json.loads(line) for line in textmill("predict", output, "--data", inputs["validation"]).stdout.splitlines()]
    truth = [line.split("\t")[0] for line in inputs["validation"].read_text().splitlines()[1:]]
    assert sum(line["label"] == label for line, label in zip(lines, truth)) / len(truth) > 0.9
    assert len(lines) == 60


def test_a_model_reads_the_columns_that_it_was_trained_on(inputs, textmill, tmp_path):
    """Short phrases that come again look like kinds, no texts: who trained it said that they are the first of a pair."""
    rows = [("room service", f"the waiter was number {i}", "good") if i % 3 else ("front desk", f"nobody was there at {i}", "bad") for i in range(60)]

    def table(name, columns):
        (tmp_path / name).write_text("\n".join("\t".join(dict(zip(("aspect", "opinion", "verdict"), row)).get(c, "-") for c in columns)
                                                for row in [("aspect", "opinion", "verdict"), *rows]) + "\n")
        return tmp_path / name

    train = table("train.tsv", ("aspect", "opinion", "verdict"))
    said = ["--text=aspect", "--text-pair=opinion"]
    by_number = ["--text=1", "--text-pair=2"]
    textmill("train", "--model", inputs["model"], "--train", train, "--output", tmp_path / "out", "--epochs=1", *by_number, "--label=3")
    textmill("quantize", tmp_path / "out", "--data", train, "--output", tmp_path / "small", "--max-loss-absolute=1")
    other = table("other.tsv", ("verdict", "opinion", "aspect"))
    bare = table("bare.tsv", ("opinion", "aspect"))
    for model in (tmp_path / "out", tmp_path / "small"):
        for data in (train, other, bare):
            assert textmill("predict", model, "--data", data).stdout == textmill("predict", model, "--data", data, *said).stdout
            assert textmill("tokenize", model, "--data", data).stdout == textmill("tokenize", model, "--data", data, *said).stdout
        assert json.loads(textmill("evaluate", model, "--data", other).stdout)["count"] == 60
    (tmp_path / "other case.tsv").write_text(train.read_text().replace("aspect\topinion", "Aspect\tOpinion", 1))
    assert textmill("predict", tmp_path / "out", "--data", tmp_path / "other case.tsv").stdout == textmill("predict", tmp_path / "out", "--data", train, *said).stdout
    (tmp_path / "bare rows.tsv").write_text("room service\tthey said it twice\tverdict\n" * 2 + "".join("\t".join(row) + "\n" for row in rows))
    assert len(textmill("predict", tmp_path / "out", "--data", tmp_path / "bare rows.tsv").stdout.splitlines()) == 62, "a value that comes again is no header"
    (tmp_path / "half.tsv").write_text("aspect\nroom service\nfront desk\n")
    assert len(textmill("predict", tmp_path / "out", "--data", tmp_path / "half.tsv").stdout.splitlines()) == 2, "its header is known"
    elsewhere = tmp_path / "elsewhere.tsv"
    elsewhere.write_text("label\ttext\n" + "".join(f"good\tthe waiter was number {i}\n" for i in range(60)))
    assert json.loads(textmill("evaluate", tmp_path / "out", "--data", elsewhere).stdout)["count"] == 60, "a file of other names is read as ever"
    (tmp_path / "gold.tsv").write_text(train.read_text().replace("verdict", "gold", 1))
    assert "text is column 1" in textmill("evaluate", tmp_path / "out", "--data", tmp_path / "gold.tsv", "--label=gold").stderr
    one = textmill("predict", tmp_path / "out", "--data", bare, "--text=opinion").stdout
    assert one != textmill("predict", tmp_path / "out", "--data", bare).stdout, "what is asked goes first"


def test_a_head_with_transformers_own_names_is_kept(textmill, tmp_path):
    """LABEL_0 is the label 0, as `evaluate` has it."""
    base = tiny_bert(tmp_path / "base", ["LABEL_0", "LABEL_1"])
    data = tmp_path / "train.tsv"
    data.write_text("label\ttext\n" + "".join(f"{i % 2}\tthe film was number {i}\n" for i in range(40)))
    log = textmill("train", "--model", base, "--train", data, "--output", tmp_path / "out", "--epochs=1", "--learning-rate=1e-20", "--dropout=0", "--precision=f32").stderr
    assert "fresh_weights" not in log
    before, after = (json.loads(textmill("evaluate", folder, "--data", data, "--precision=f32").stdout) for folder in (base, tmp_path / "out"))
    assert before["loss"] == pytest.approx(after["loss"], abs=1e-5)
    three = tmp_path / "three.tsv"
    three.write_text(data.read_text() + "2\tanother\n")
    textmill("train", "--model", base, "--train", three, "--output", tmp_path / "three", "--epochs=1")
    assert json.loads((tmp_path / "three/config.json").read_text())["id2label"] == {"0": "0", "1": "1", "2": "2"}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_that_the_tokenizer_refuses_is_named(textmill, tmp_path, threads):
    """Tokenized beside others: the first of the file is said, and nothing ends abruptly."""
    base = tiny_bert(tmp_path / "base")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(base)
    tokenizer("a", "b", truncation="only_second", max_length=32)
    tokenizer.save_pretrained(base)
    data = tmp_path / "train.tsv"
    rows = [f"{i % 2}\tthe film was good" for i in range(400)]
    for i in (250, 390):
        rows[i] = "1\t" + "the film was good " * 40
    data.write_text("label\ttext\n" + "\n".join(rows) + "\n")
    done = textmill("train", "--model", base, "--train", data, "--output", tmp_path / "out", "--max-length=32", "--threads", threads, check=False)
    assert done.returncode == 2 and f"{data}:252: the first text has " in done.stderr, done.stderr
    done = textmill("tokenize", base, "--data", data, "--max-length=32", check=False)
    assert done.returncode == 2 and f"{data}:252: the first text has " in done.stderr, done.stderr


def test_a_path_into_json_is_remembered(inputs, textmill, tmp_path):
    data = tmp_path / "a.jsonl"
    data.write_text("".join(json.dumps({"title": f"a title {i}", "article": {"body": f"the waiter was number {i}"}, "label": "ab"[i % 2]}) + "\n" for i in range(40)))
    flat = tmp_path / "flat.jsonl"  # as pandas.json_normalize writes it
    flat.write_text(data.read_text().replace('"article": {"body": ', '"article.body": ').replace("}, ", ", "))
    textmill("train", "--model", inputs["model"], "--train", data, "--text=article.body", "--output", tmp_path / "out", "--epochs=1")
    nested, dotted = (textmill("evaluate", tmp_path / "out", "--data", file) for file in (data, flat))
    assert "article.body" in nested.stderr and nested.stdout == dotted.stdout


def test_what_runs_a_model_is_said_alike(trained, inputs, textmill):
    output, log = trained
    logs = [log, *(textmill(*command).stderr for command in (["predict", output, "great"], ["evaluate", output, "--data", inputs["validation"]]))]
    lines = [re.findall(r" engine (precision=\S+ threads=\d+ cpu=\S+) max_length=64 max_length_from=", text) for text in logs]
    assert lines == [lines[0]] * 3 and len(lines[0]) == 1, logs


def test_describe(trained, textmill, inputs, tmp_path):
    output, _ = trained
    found = json.loads(textmill("describe", output).stdout)
    assert found["labels"] == ["neg", "pos"] and found["max_length"] == 64
    assert found["bytes"]["f32"] == 4 * found["parameters"]
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(output, arcname=".", filter=lambda item: None if "checkpoints" in item.name else item)
    archived = json.loads(textmill("describe", tmp_path / "model.tar.gz").stdout)
    serve, other = (one.pop("memory")["serve"]["f32"] for one in (found, archived))  # what a process itself takes varies a little
    assert archived == found and other == pytest.approx(serve, rel=0.2)
    assert textmill("describe", inputs["train"].parent, check=False).returncode == 2


def test_bytes_do_not_depend_on_threads(inputs, textmill, tmp_path):
    for threads in (1, 2, 3):
        textmill("train", *arguments(inputs, tmp_path / str(threads), epochs=1, threads=threads))
    weights = {(tmp_path / str(threads) / "model.safetensors").read_bytes() for threads in (1, 2, 3)}
    assert len(weights) == 1


def test_training_goes_on_from_a_classifier(trained, inputs, textmill, tmp_path):
    output, _ = trained
    done = textmill("train", *arguments({**inputs, "model": output}, tmp_path / "out", epochs=1, learning_rate=1e-5, dropout=0))
    assert "fresh_weights" not in done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["epochs"][0]["loss"] < 0.4, "the head was kept"


def test_the_container_role(build, inputs, tmp_path):
    root = tmp_path / "ml"
    config = root / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({"epochs": "2", "batch_size": "8", "learning_rate": "3e-3", "seed": "1"}))
    for channel in ("model", "train", "validation"):
        folder = root / "input" / "data" / channel
        folder.mkdir(parents=True)
        if channel == "model":
            with tarfile.open(folder / "model.tar.gz", "w:gz") as archive:
                archive.add(inputs["model"], arcname=".")
        else:
            (folder / "data.tsv").write_bytes(inputs[channel].read_bytes())
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(root)}
    done = subprocess.run([build / "textmill", "train"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (root / "model" / "model.safetensors").exists() and list((root / "checkpoints").glob("step-*"))
    again = subprocess.run([build / "textmill", "train"], env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "resumed" in again.stderr, "a job that is started again goes on"

    wrong = subprocess.run([build / "textmill", "train"], env=environment | {"TEXTMILL_PRECISION": "fp32"}, capture_output=True, text=True)
    assert wrong.returncode == 2 and "TEXTMILL_PRECISION: 'fp32' is none of" in (root / "output" / "failure").read_text()
    (config / "hyperparameters.json").write_text(json.dumps({"epochs": "2", "batchsize": "8"}))
    done = subprocess.run([build / "textmill", "train"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "batchsize" in (root / "output" / "failure").read_text()

    (config / "hyperparameters.json").write_text(json.dumps({"epochs": "2", "log_level": "error", "log_format": "text"}))
    shutil.rmtree(root / "checkpoints")
    (root / "checkpoints").write_text("")
    done = subprocess.run([build / "textmill", "train"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"{root / 'checkpoints'}: Not a directory" in (root / "output" / "failure").read_text()


@pytest.mark.parametrize("change,message", [
    ({"model": "nowhere"}, "nowhere: no such model folder"),
    ({"train": "nowhere.tsv"}, "nowhere.tsv"),
    ({"max_length": 65}, "has only 64 positions"),
    ({"max_length": 2}, "2 tokens at most: no room for a text beside 2 special ones"),
    ({"epochs": 0}, "--epochs: '0' is not a whole number of at least 1"),
    ({"label": "colour"}, "colour"),
    ({"text_pair": "text"}, "text"),
    ({"text": "text", "label": "2"}, "train.tsv: text and label are the same column, text"),
    ({"learning_rate": 1e30}, "--learning-rate: '1e+30' is not a number from 0 to 1000000"),
])
def test_what_is_wrong_is_said(change, message, inputs, textmill, tmp_path):
    done = textmill("train", *arguments({**inputs, **change}, tmp_path / "out"), check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_training_that_cannot_fit_says_which_batch_size_would(minilm, textmill, tmp_path):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = json.loads(textmill("describe", minilm).stdout)["memory"]
    rows = 2 ** math.ceil(math.log2(4 * total / (memory["train"]["bf16"] / memory["sequences"])))
    (tmp_path / "train.tsv").write_text("label\ttext\n" + "".join(f"{i % 2}\t{'very good ' * 130}\n" for i in range(rows)))
    done = textmill("train", "--model", minilm, "--train", tmp_path / "train.tsv", "--output", tmp_path / "out",
                    "--precision", "bf16", "--batch-size", rows, "--gradient-accumulation", 3, check=False)
    assert done.returncode == 1 and "step=" not in done.stderr
    said = re.search(r"batches of (\d+) need [0-9.]+ GiB, [0-9.]+ GiB are free; "
                     r"--batch-size (\d+) --gradient-accumulation (\d+) would fit and learn the same", done.stderr)
    assert said, done.stderr
    assert int(said[1]) == rows and 1 <= int(said[2]) < rows and int(said[2]) * int(said[3]) == 3 * rows


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_the_model_to_start_from_is_no_output(options, inputs, textmill, tmp_path):
    model = shutil.copytree(inputs["model"], tmp_path / "model")
    (tmp_path / "link").symlink_to(model)
    before = {file.name: file.read_bytes() for file in model.iterdir()}
    for output in (model, tmp_path / "link", f"{model}/../model/"):
        done = textmill("train", *arguments({**inputs, "model": model}, output), *options, check=False)
        assert done.returncode == 2 and "the model to start from" in done.stderr, done.stderr
    assert {file.name: file.read_bytes() for file in model.iterdir()} == before


def test_resume_leaves_a_model_alone_that_is_not_its_own(trained, inputs, textmill, tmp_path):
    output = shutil.copytree(trained[0], tmp_path / "out")
    before = (output / "model.safetensors").read_bytes()
    done = textmill("train", *arguments(inputs, output, learning_rate=1e-4), "--resume", check=False)
    assert done.returncode == 2 and "recipe.learning_rate: the run had 0.003, now it is 0.0001" in done.stderr
    shutil.rmtree(output / "checkpoints")
    done = textmill("train", *arguments(inputs, output), "--resume", check=False)
    assert done.returncode == 2 and f"{output} holds a model and no checkpoint" in done.stderr, done.stderr
    assert (output / "model.safetensors").read_bytes() == before


def test_an_output_that_is_a_file(inputs, textmill, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = textmill("train", *arguments(inputs, tmp_path / "out"), check=False)
    assert done.returncode == 2 and f"{tmp_path}/out/checkpoints: Not a directory" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("slash", ["", "/", "/."])
def test_names_of_paths_that_end_in_a_slash(slash, inputs, textmill, tmp_path):
    textmill("train", *arguments({**inputs, "model": f"{inputs['model']}{slash}"}, f"{tmp_path}/out{slash}", epochs=1))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["base_model"] == "base"


def test_the_base_of_a_model_is_where_it_came_from(inputs, build, textmill, tmp_path):
    """An older transformers wrote into a folder the name of the one that it had loaded: that is the base of the base."""
    model = shutil.copytree(inputs["model"], tmp_path / "ml/input/data/model")
    config = json.loads((model / "config.json").read_text()) | {"_name_or_path": "somebody/larger"}
    (model / "config.json").write_text(json.dumps(config))
    textmill("train", *arguments({**inputs, "model": model}, tmp_path / "out", epochs=1))
    assert json.loads((tmp_path / "out/run.json").read_text())["base_model"] == "model"
    assert "_name_or_path" not in json.loads((tmp_path / "out/config.json").read_text())

    (tmp_path / "ml/input/config").mkdir()
    (tmp_path / "ml/input/config/hyperparameters.json").write_text('{"epochs": "1", "learning_rate": "3e-3"}')
    (tmp_path / "ml/input/data/train").mkdir()
    shutil.copy(inputs["train"], tmp_path / "ml/input/data/train")
    subprocess.run([build / "textmill", "train"], env=os.environ | {"SAGEMAKER_BASE_DIR": str(tmp_path / "ml")}, check=True, capture_output=True)
    assert json.loads((tmp_path / "ml/model/run.json").read_text())["base_model"] == "somebody/larger", "all that a channel tells"


def test_a_label_that_training_did_not_have(inputs, textmill, tmp_path):
    (tmp_path / "other.tsv").write_text("label\ttext\nneg\ta film\nposs\tgreat\n")
    done = textmill("train", *arguments({**inputs, "validation": tmp_path / "other.tsv"}, tmp_path / "out"), check=False)
    assert done.returncode == 2 and f"{tmp_path / 'other.tsv'}:3: label 'poss' is not one of the training data's 2 (neg, pos)" in done.stderr and "did you mean pos?" in done.stderr

