"""Any executable as a training job: the container contract, its ends, limits, instances, checkpoints."""

import io
import json
import subprocess
import tarfile
import time

import boto3
import pytest
from botocore.exceptions import ClientError

from .. import jobs
from ..servers import await_that


@pytest.fixture(scope="module")
def clients(server):
    sagemaker, s3, logs = server.client("sagemaker"), server.client("s3"), server.client("logs")
    s3.create_bucket(Bucket="jobs")
    return sagemaker, s3, logs


@pytest.fixture
def start(clients, tmp_path, name):
    """start("script text", **request): the job's name."""

    def run(text, arguments="", interpreter="/bin/sh", **more):
        job = name("job")
        clients[0].create_training_job(**jobs.request(job, jobs.script(tmp_path, job, text, interpreter), **more))
        return job

    return run


@pytest.fixture
def run(clients, start):
    """The same to its end: what describes it then."""
    return lambda *arguments, **more: jobs.finish(clients[0], start(*arguments, **more))


def archive(s3, job, what="model"):
    body = s3.get_object(Bucket="jobs", Key=f"out/{job}/output/{what}.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def said(clients, job):
    return "\n".join(jobs.log_of(clients[2], job["TrainingJobName"]))


def test_the_contract(clients, run):
    _, s3, _ = clients
    s3.put_object(Bucket="jobs", Key="in/a.txt", Body=b"hello")
    s3.put_object(Bucket="jobs", Key="in/deep/b.txt", Body=b"x" * 100_000)
    done = run('[ "$*" = train ] && [ $(pwd) = /opt/ml ] && cp input/config/*.json model && cp -r input/data model && env > output/data/env',
               HyperParameters={"a": "1", "b": '"text"'}, Environment={"MINE": "yes"},
               InputDataConfig=[jobs.channel("train", "s3://jobs/in", ContentType="text/csv"), jobs.channel("one", "s3://jobs/in/a.txt", "ShardedByS3Key")])
    assert done["TrainingJobStatus"] == "Completed", done
    files = archive(s3, done["TrainingJobName"])
    assert json.loads(files["hyperparameters.json"]) == {"a": "1", "b": '"text"'}
    usual = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    assert json.loads(files["inputdataconfig.json"]) == {"train": usual | {"ContentType": "text/csv"}, "one": usual | {"S3DistributionType": "ShardedByS3Key"}}
    resources = json.loads(files["resourceconfig.json"])
    assert resources.pop("network_interface_name")
    assert resources == {"current_host": "algo-1", "current_instance_type": "ml.box.1cpu", "current_group_name": "homogeneousCluster", "hosts": ["algo-1"],
                         "instance_groups": [{"instance_group_name": "homogeneousCluster", "instance_type": "ml.box.1cpu", "hosts": ["algo-1"]}]}
    assert files["data/train/a.txt"] == files["data/one/a.txt"] == b"hello" and len(files["data/train/deep/b.txt"]) == 100_000
    env = dict(line.split("=", 1) for line in archive(s3, done["TrainingJobName"], "output")["env"].decode().splitlines())
    assert env["TRAINING_JOB_NAME"] == done["TrainingJobName"] and env["TRAINING_JOB_ARN"] == done["TrainingJobArn"]
    assert env["MINE"] == "yes" and env["AWS_REGION"] == "us-east-1" and env["AWS_ENDPOINT_URL"].startswith("http://")
    assert not [n for n in env if n.startswith("TEXTMILL")]


def test_entrypoint_and_arguments(server, run, tmp_path):
    tool = jobs.script(tmp_path, "tool", 'echo "said: $*"; exit 9').removeprefix("process://")
    done = run("exit 1", algorithm={"ContainerEntrypoint": ["/bin/sh", tool], "ContainerArguments": ["a", "b c"]})
    assert done["FailureReason"] == "AlgorithmError: said: a b c, exit code: 9"
    done = run("exit 1", algorithm={"ContainerEntrypoint": ["/bin/cat", str(server.folder / "root-key.json")]})
    assert "No such file" in done["FailureReason"]  # naming a file of the server's does not show it
    done = run('echo "said: $*"; exit 9', algorithm={"ContainerArguments": ["a"]})
    assert done["FailureReason"] == "AlgorithmError: said: a, exit code: 9"


def test_failures_have_reasons(clients, run):
    done = run("printf 'the true reason' > /opt/ml/output/failure; echo noise; exit 3")
    assert (done["TrainingJobStatus"], done["FailureReason"]) == ("Failed", "AlgorithmError: the true reason, exit code: 3")
    assert jobs.statuses(done) == ["Starting", "Downloading", "Training", "Uploading", "Failed"]
    assert done["SecondaryStatusTransitions"][-1]["StatusMessage"] == done["FailureReason"]
    done = run("head -c 5000 /dev/zero | tr '\\0' x > /opt/ml/output/failure; exit 3")
    assert len(done["FailureReason"]) == 1024 and done["FailureReason"].endswith("x, exit code: 3")
    assert run("kill -9 $$")["FailureReason"] == "AlgorithmError: exit code: 137"
    with pytest.raises(ClientError, match="404|NoSuchKey"):
        archive(clients[1], done["TrainingJobName"])


def test_what_users_get_wrong(clients, name, run, tmp_path):
    sagemaker = clients[0]
    missing = [jobs.channel("train", "s3://jobs/nothing/here")]
    for more, reason in (
            ({"InputDataConfig": missing}, 'ClientError: Data download failed: No S3 objects found under S3 URL "s3://jobs/nothing/here" given in input data source.'),
            ({"InputDataConfig": [jobs.channel("train", "s3://no-such-bucket/x")]}, "ClientError: Data download failed: the bucket no-such-bucket does not exist"),
            ({"bucket": "no-such-bucket"}, "ClientError: Data upload failed: the bucket no-such-bucket does not exist")):
        done = run("exit 0", **more)
        assert (done["TrainingJobStatus"], done["FailureReason"]) == ("Failed", reason)
    (tmp_path / "train.sh").write_text("#!/bin/sh\n")  # without its x bit
    for image, reason in ((f"process://{tmp_path}/train.sh", f"ClientError: cannot start {tmp_path}/train.sh: Permission denied"),
                          ("process:///no/such/program", "ClientError: cannot start /no/such/program: No such file or directory"),
                          ("process://relative", "ClientError: the image process://relative is no process:///path/program"),
                          ("some.registry/blazingtext:1", "ClientError: the image some.registry/blazingtext:1 is none that this server runs: `textmill images` lists those that it does; "
                           "others need podman or docker, and this server has neither (textmill up --container-engine)")):
        job = name()
        sagemaker.create_training_job(**jobs.request(job, image))
        assert jobs.finish(sagemaker, job)["FailureReason"].startswith(reason)


def test_stop(clients, start, refused):
    sagemaker, s3, logs = clients
    job = start("trap 'echo leaving; echo m > model/m; exit 0' TERM; echo ready; while true; do sleep 0.05; done")
    await_that(lambda: "ready" in jobs.log_of(logs, job), "it runs")
    sagemaker.stop_training_job(TrainingJobName=job)
    sagemaker.stop_training_job(TrainingJobName=job)  # again, while it stops: fine
    done = jobs.finish(sagemaker, job)
    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Stopped"
    assert jobs.statuses(done) == ["Starting", "Downloading", "Training", "Stopping", "Stopped"]
    assert archive(s3, job) == {"m": b"m\n"} and "leaving" in jobs.log_of(logs, job)
    assert refused(sagemaker.stop_training_job, TrainingJobName=job) == (
        "ValidationException", 400, "The request was rejected because the training job is in status Stopped.")


def test_jobs_stopped_while_they_start(clients, start, server):
    """Wherever the start is: one end, and no runner that the server has forgotten."""
    names = []
    for i in range(12):
        names.append(start("sleep 60"))
        time.sleep(0.004 * i)
        clients[0].stop_training_job(TrainingJobName=names[-1])
    for name in names:
        done = jobs.finish(clients[0], name)
        assert done["TrainingJobStatus"] == "Stopped" and jobs.statuses(done)[-1] == "Stopped", done
    await_that(lambda: not list((server.folder / "jobs").iterdir()), "no attempt's folder is left")
    assert not [line for line in server.log_lines() if line["event"] == "job_not_tended"]


def test_limits_of_time(clients, run):
    done = run("echo m > model/m; sleep 60", StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert archive(clients[1], done["TrainingJobName"]) == {"m": b"m\n"}
    done = run("sleep 60", EnableManagedSpotTraining=True, StoppingCondition={"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1})
    assert done["TrainingJobStatus"] == "Stopped" and done["SecondaryStatus"] in ("MaxWaitTimeExceeded", "MaxRuntimeExceeded")


def test_jobs_beyond_capacity_wait(clients, start, server):
    sagemaker, _, logs = clients
    large = {"resources": {"InstanceType": "ml.p3.16xlarge"}}
    first = start("while [ ! -e output/data/go ]; do sleep 0.05; done", **large)
    second = start("exit 0", **large)
    waiting = await_that(lambda: (j := sagemaker.describe_training_job(TrainingJobName=second))["SecondaryStatus"] == "Pending" and j, "it waits")
    assert "Waiting for capacity" in waiting["SecondaryStatusTransitions"][-1]["StatusMessage"]
    sagemaker.stop_training_job(TrainingJobName=first)
    assert jobs.finish(sagemaker, first)["TrainingJobStatus"] == "Stopped"
    done = jobs.finish(sagemaker, second)
    assert jobs.statuses(done)[:3] == ["Starting", "Pending", "Downloading"] and done["TrainingJobStatus"] == "Completed"
    log = said(clients, done)
    for word in ("Waiting for capacity", "has GPUs: this runs on the CPU", "is larger than this machine"):
        assert word in log
    third = start("while true; do sleep 0.05; done", **large)
    pending = start("exit 0", **large)
    sagemaker.stop_training_job(TrainingJobName=pending)  # before it ever ran
    assert jobs.finish(sagemaker, pending)["TrainingJobStatus"] == "Stopped"
    sagemaker.stop_training_job(TrainingJobName=third)
    jobs.finish(sagemaker, third)


def own_page(server, env, page):
    """The status of a POST to a page of ours, signed with a job's credentials."""
    import urllib.error
    import urllib.request
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    body = b'{"role": "admin", "to": "/tmp/stolen", "name": "x"}'
    signed = AWSRequest("POST", f"{server.url}/_textmill/{page}", data=body)
    SigV4Auth(Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"]), "textmill", "us-east-1").add_auth(signed)
    try:
        return urllib.request.urlopen(urllib.request.Request(signed.url, body, dict(signed.headers), method="POST")).status
    except urllib.error.HTTPError as error:
        return error.code


def test_metrics_that_are_no_numbers(run):
    done = run("printf 'loss=nan\\nloss=inf\\nloss=-inf\\nloss=1e999\\nloss=0.25\\n'", algorithm={"MetricDefinitions": [{"Name": "loss", "Regex": r"loss=(\S+)"}]})
    assert done["TrainingJobStatus"] == "Completed", done
    assert [(m["MetricName"], m["Value"]) for m in done["FinalMetricDataList"]] == [("loss", 0.25)]


def test_credentials_end_with_the_job(clients, server, start):
    sagemaker, s3, _ = clients
    job = start("import os, json, time\nprint(json.dumps({k: v for k, v in os.environ.items() if k.startswith('AWS_')}), flush=True)\n"
                "while not os.path.exists('/opt/ml/never'): time.sleep(0.05)", interpreter="/usr/bin/python3")
    line = await_that(lambda: next((l for l in jobs.log_of(clients[2], job) if l.startswith("{")), None), "its environment")
    env = json.loads(line)
    session = boto3.Session(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_SESSION_TOKEN"], region_name=env["AWS_REGION"])
    theirs = session.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"])
    sts = session.client("sts", endpoint_url=env["AWS_ENDPOINT_URL"])
    theirs.put_object(Bucket="jobs", Key="from-the-job", Body=b"x")
    assert "textmill-job" in sts.get_caller_identity()["Arn"]
    assumed = sts.assume_role(RoleArn=jobs.ROLE, RoleSessionName="longer")["Credentials"]
    longer = boto3.client("s3", endpoint_url=server.url, aws_access_key_id=assumed["AccessKeyId"], aws_secret_access_key=assumed["SecretAccessKey"],
                          aws_session_token=assumed["SessionToken"], region_name="us-east-1")
    assert longer.list_buckets()["Buckets"]
    for path in ("keys", "backup", "stop", "clean"):
        assert own_page(server, env, path) == 403
    sagemaker.stop_training_job(TrainingJobName=job)
    jobs.finish(sagemaker, job)
    for client in (theirs, longer):
        with pytest.raises(ClientError):
            client.list_buckets()


def test_credentials_last_through_the_grace(clients, server, start):
    """What a program saves after SIGTERM it saves with them."""
    job = start("import json, os, signal, time\nended = []\nsignal.signal(signal.SIGTERM, lambda *_: (ended.append(1), print('TERM', flush=True)))\n"
                "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('AWS_')}), flush=True)\n"
                "while not ended or not os.path.exists('/opt/ml/go'): time.sleep(0.05)", interpreter="/usr/bin/python3",
                StoppingCondition={"MaxRuntimeInSeconds": 1})
    said = await_that(lambda: (lines := jobs.log_of(clients[2], job))[-1:] == ["TERM"] and lines, "it is asked to end")
    env = json.loads(said[-2])
    theirs = boto3.client("s3", endpoint_url=server.url, aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
                          aws_session_token=env["AWS_SESSION_TOKEN"], region_name="us-east-1")
    theirs.put_object(Bucket="jobs", Key="saved", Body=b"x")
    task = next(task for task in server.folder.glob("jobs/*/task.json") if json.loads(task.read_text())["name"] == job)
    (task.parent / "algo-1/ml/go").touch()
    assert jobs.finish(clients[0], job)["SecondaryStatus"] == "MaxRuntimeExceeded"
    with pytest.raises(ClientError):
        theirs.list_buckets()


def test_several_instances(clients, run):
    _, s3, logs = clients
    for i in range(7):
        s3.put_object(Bucket="jobs", Key=f"many/{i}.txt", Body=b"x")
    done = run("ls input/data/shards > model/$(hostname); ls input/data/all | wc -l; getent hosts algo-3", resources={"InstanceCount": 3},
               InputDataConfig=[jobs.channel("shards", "s3://jobs/many/", "ShardedByS3Key"), jobs.channel("all", "s3://jobs/many/")])
    assert done["TrainingJobStatus"] == "Completed", done
    parts = [v.decode().split() for _, v in sorted(archive(s3, done["TrainingJobName"]).items())]
    assert len(parts) == 3 and sorted(sum(parts, [])) == [f"{i}.txt" for i in range(7)]
    for i in (1, 2, 3):
        assert "7" in jobs.log_of(logs, done["TrainingJobName"], f"algo-{i}")
    done = run("[ $(hostname) = algo-2 ] && { echo lost; exit 4; }; sleep 60", resources={"InstanceCount": 3})
    assert done["FailureReason"] == "AlgorithmError: lost, exit code: 4"


def test_manifests(clients, run):
    s3 = clients[1]
    for key in ("pick/a", "pick/b", "pick/c/d"):
        s3.put_object(Bucket="jobs", Key=key, Body=key.encode())
    s3.put_object(Bucket="jobs", Key="the.manifest", Body=json.dumps([{"prefix": "s3://jobs/pick/"}, "c/d", "a"]).encode())
    done = run("cp -r input/data/picked model", InputDataConfig=[jobs.channel("picked", "s3://jobs/the.manifest", kind="ManifestFile")])
    assert archive(s3, done["TrainingJobName"]) == {"picked/a": b"pick/a", "picked/c/d": b"pick/c/d"}
    s3.put_object(Bucket="jobs", Key="bad.manifest", Body=json.dumps([{"prefix": "s3://jobs/pick/"}, "../a"]).encode())
    done = run("exit 0", InputDataConfig=[jobs.channel("picked", "s3://jobs/bad.manifest", kind="ManifestFile")])
    assert done["TrainingJobStatus"] == "Failed" and done["FailureReason"].startswith("ClientError: Data download failed: ")


def test_keys_that_leave_the_folder(clients, run):
    s3 = clients[1]
    s3.put_object(Bucket="jobs", Key="evil/x/../../../../etc/x", Body=b"x")
    done = run("exit 0", InputDataConfig=[jobs.channel("train", "s3://jobs/evil/")])
    assert done["FailureReason"].startswith("ClientError: Data download failed: the object key ")


def test_folders_that_are_too_deep(clients, server, run):
    done = run("import os\nos.chdir('model')\nfor _ in range(30):\n    os.mkdir('a' * 200)\n    os.chdir('a' * 200)", interpreter="/usr/bin/python3")
    assert done["TrainingJobStatus"] == "Failed" and "name too long" in done["FailureReason"] and str(server.folder) not in done["FailureReason"], done
    await_that(lambda: not list((server.folder / "gone").iterdir()), "its folder is gone")


def test_keys_that_are_too_long(clients, server, run):
    key = "long/" + "a" * 300
    clients[1].put_object(Bucket="jobs", Key=key, Body=b"x")
    reason = run("exit 0", InputDataConfig=[jobs.channel("train", "s3://jobs/long/")])["FailureReason"]
    assert reason.startswith(f"ClientError: Data download failed: the object key '{key[5:]}' cannot be a file's name: 300 bytes"), reason


def test_input_is_never_written_to(clients, run):
    s3 = clients[1]
    for key, size in (("mine/small", 10), ("mine/large", 200_000)):
        s3.put_object(Bucket="jobs", Key=key, Body=b"o" * size)
    done = run("cd input/data/train && for f in small large; do echo changed >> $f; chmod 777 $f; mv $f $f-2; done; rm small-2; echo new > new",
               InputDataConfig=[jobs.channel("train", "s3://jobs/mine/")])
    assert done["TrainingJobStatus"] == "Completed", done
    assert s3.get_object(Bucket="jobs", Key="mine/large")["Body"].read() == b"o" * 200_000
    assert {o["Key"] for o in s3.list_objects_v2(Bucket="jobs", Prefix="mine/")["Contents"]} == {"mine/small", "mine/large"}


def test_checkpoints_both_ways(clients, run, start):
    sagemaker, s3, logs = clients
    config = {"S3Uri": "s3://jobs/checkpoints/run"}
    counter = "cd checkpoints; n=$(cat step 2>/dev/null || echo 0); echo $((n + 1)) > step; echo x > old-$n; rm -f old-$((n - 1)); echo at $((n + 1))"
    for expected in (1, 2, 3):
        done = run(counter, CheckpointConfig=config)
        assert f"at {expected}" in said(clients, done)
        objects = {o["Key"].rsplit("/", 1)[1] for o in s3.list_objects_v2(Bucket="jobs", Prefix="checkpoints/run/")["Contents"]}
        assert objects == {"step", f"old-{expected - 1}"}
    job = start("echo now > checkpoints/during; sleep 60", CheckpointConfig={"S3Uri": "s3://jobs/live"})
    await_that(lambda: s3.list_objects_v2(Bucket="jobs", Prefix="live/").get("Contents"), "it is kept while the job runs")
    sagemaker.stop_training_job(TrainingJobName=job)
    jobs.finish(sagemaker, job)


def test_a_follower_of_two_instances_misses_nothing(clients, server, start, build):
    """What one says may come in after what the other said later."""
    job = start("for i in $(seq 600); do echo $(hostname) $i; sleep 0.003; done", resources={"InstanceCount": 2})
    done = subprocess.run([build / "textmill", "logs", "-f", job, "--data-dir", server.folder], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    said = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    for host in ("algo-1", "algo-2"):
        assert [line for line in said if line.startswith(f"{host} ")] == [f"{host} {i}" for i in range(1, 601)]


def test_events_for_tensorboard(clients, run, start):
    """Where the SDK's latest_job_tensorboard_artifacts_path looks for them; each attempt's, while it runs."""
    sagemaker, s3, _ = clients
    config = {"S3OutputPath": "s3://jobs/boards/"}
    job = start("mkdir -p output/tensorboard/run; echo 1 > output/tensorboard/run/events; sleep 60", TensorBoardOutputConfig=config)
    under = f"boards/{job}/tensorboard-output/"
    listed = lambda prefix: [o["Key"].removeprefix(prefix) for o in s3.list_objects_v2(Bucket="jobs", Prefix=prefix).get("Contents", [])]
    await_that(lambda: listed(under) == ["run/events"], "they are kept while the job runs")
    sagemaker.stop_training_job(TrainingJobName=job)
    jobs.finish(sagemaker, job)
    done = run("mkdir boards; echo 2 > boards/events; echo 3 > checkpoints/c",
               TensorBoardOutputConfig=config | {"LocalPath": "/opt/ml/boards"}, CheckpointConfig={"S3Uri": "s3://jobs/beside"})
    assert done["TensorBoardOutputConfig"]["LocalPath"] == "/opt/ml/boards"
    assert listed(f"boards/{done['TrainingJobName']}/tensorboard-output/") == ["events"] and listed("beside/") == ["c"]


def test_checkpoints_of_several_instances(clients, run):
    """Each keeps its own, and finds all."""
    config = {"S3Uri": "s3://jobs/parts"}
    for expected in (["algo-1", "algo-2"], ["algo-1-1", "algo-1-2", "algo-2-1", "algo-2-2"]):
        done = run("n=$(ls checkpoints | wc -l); for i in 1 2; do [ $n = 0 ] || echo x > checkpoints/$(hostname)-$i; done; "
                   "if [ $n = 0 ]; then echo x > checkpoints/$(hostname); else rm checkpoints/algo-1 checkpoints/algo-2; fi",
                   resources={"InstanceCount": 2}, CheckpointConfig=config)
        assert done["TrainingJobStatus"] == "Completed"
        assert [o["Key"].removeprefix("parts/") for o in clients[1].list_objects_v2(Bucket="jobs", Prefix="parts/")["Contents"]] == expected


def test_output_without_an_archive(clients, run):
    done = run("mkdir model/sub; echo a > model/a; echo b > model/sub/b", OutputDataConfig={"S3OutputPath": "s3://jobs/plain/", "CompressionType": "NONE"})
    job = done["TrainingJobName"]
    assert done["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://jobs/plain/{job}/output/model/"
    keys = {o["Key"] for o in clients[1].list_objects_v2(Bucket="jobs", Prefix=f"plain/{job}/")["Contents"]}
    assert keys == {f"plain/{job}/output/model/a", f"plain/{job}/output/model/sub/b"}


def test_what_hosts_leave_under_one_name(clients, run):
    done = run("[ $(hostname) = algo-1 ] && echo one >model/x || { mkdir model/x; echo two >model/x/two; }; echo $(hostname) >model/$(hostname)", resources={"InstanceCount": 2})
    assert archive(clients[1], done["TrainingJobName"]) == {"x": b"one\n", "algo-1": b"algo-1\n", "algo-2": b"algo-2\n"}
    streams = clients[2].filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=done["TrainingJobName"] + "/algo-2")["events"]
    assert "/opt/ml/model/x was not kept: of an instance before this one it is a file, and here a folder." in [e["message"] for e in streams]


def test_logs_of_a_job_that_is_made_again(clients, server, run, textmill, tmp_path):
    job = run("echo the first")["TrainingJobName"]
    clients[0].delete_training_job(TrainingJobName=job)
    clients[0].create_training_job(**jobs.request(job, jobs.script(tmp_path, "again", "echo the second")))
    jobs.finish(clients[0], job)
    said = textmill("logs", job, "--data-dir", server.folder).stdout
    assert "the second" in said and "the first" not in said


def test_a_job_sees_no_others(clients, server, run, start):
    other = start("echo secret > /tmp/secret; echo secret > model/secret; sleep 60")
    await_that(lambda: clients[0].describe_training_job(TrainingJobName=other)["SecondaryStatus"] == "Training", "it runs")
    done = run(f"ls {server.folder}/ && [ -n \"$(ls -A {server.folder})\" ] && exit 10; ls /tmp/secret && exit 11; "
               f"[ $(ls -d /proc/[0-9]* | wc -l) -lt 8 ] || exit 12; cat {server.folder}/root-key.json && exit 13; exit 0")
    assert done["TrainingJobStatus"] == "Completed", said(clients, done)
    clients[0].stop_training_job(TrainingJobName=other)
    jobs.finish(clients[0], other)


def test_network_isolation(clients, server, run):
    probe = f"import os, socket, urllib.parse\nurl = urllib.parse.urlparse({server.url!r})\nprint(sorted(n for n in os.environ if n.startswith('AWS_')))\nsocket.create_connection((url.hostname, url.port), 2)"
    done = run(probe, interpreter="/usr/bin/python3")
    assert done["TrainingJobStatus"] == "Completed" and "AWS_ENDPOINT_URL" in said(clients, done)
    for count in (1, 2):
        done = run(probe, interpreter="/usr/bin/python3", resources={"InstanceCount": count}, EnableNetworkIsolation=True)
        assert "Connection refused" in done["FailureReason"]
        # The first that fails ends the other, perhaps before it has said anything.
        words = [line for i in range(count) for line in jobs.log_of(clients[2], done["TrainingJobName"], f"algo-{i + 1}")]
        assert "['AWS_DEFAULT_REGION', 'AWS_REGION']" in words, words


def test_bad_programs(clients, run):
    """They end, are held to their limits, and the server goes on."""
    done = run("for i in $(seq 1 5000); do sleep 100 & done; echo all started", resources={"VolumeSizeInGB": 1})
    assert done["TrainingJobStatus"] == "Failed" and "all started" not in said(clients, done)
    done = run("truncate -s 5G model/big || { echo no room; exit 5; }")
    assert done["FailureReason"] == "AlgorithmError: no room, exit code: 5"
    done = run("python3 -c \"x = bytearray(64 << 30); print(len(x))\"", resources={"InstanceType": "ml.c5.large"})
    assert done["TrainingJobStatus"] == "Failed"
    done = run("(setsid sh -c 'sleep 1000' &); (setsid sh -c 'trap \"\" TERM HUP; while true; do sleep 1; done' &) ; exit 0")
    assert done["TrainingJobStatus"] == "Completed"
    done = run("head -c 300000 /dev/urandom; printf 'no newline'")
    assert done["TrainingJobStatus"] == "Completed" and said(clients, done).endswith("no newline")
    done = run("mkfifo model/pipe; exit 0")
    assert done["TrainingJobStatus"] == "Failed" and "neither a file nor a folder" in done["FailureReason"]
    done = run("ln -s ../../../../../../etc/passwd model/m")
    assert done["TrainingJobStatus"] == "Failed" and "which is not a file under /opt/ml" in done["FailureReason"]


def test_much_output(clients, run):
    started = time.monotonic()
    done = run("head -c 1000000000 /dev/zero | tr '\\0' x | fold -w 1000; echo the end")
    lines = jobs.log_of(clients[2], done["TrainingJobName"])
    assert done["TrainingJobStatus"] == "Completed" and "were not kept" in lines[-1] and sum(map(len, lines)) < 70 << 20
    assert time.monotonic() - started < 120


def test_update_and_delete(clients, start, run, refused):
    sagemaker = clients[0]
    job = start("sleep 60")
    assert refused(sagemaker.delete_training_job, TrainingJobName=job)[0] == "ResourceInUse"
    assert sagemaker.update_training_job(TrainingJobName=job, ResourceConfig={"KeepAlivePeriodInSeconds": 60})["TrainingJobArn"]
    assert sagemaker.describe_training_job(TrainingJobName=job)["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 60
    sagemaker.stop_training_job(TrainingJobName=job)
    jobs.finish(sagemaker, job)
    sagemaker.delete_training_job(TrainingJobName=job)
    assert refused(sagemaker.describe_training_job, TrainingJobName=job) == ("ValidationException", 400, "Requested resource not found.")
