"""Runs a user's training script as SageMaker's framework images do (the toolkit's layer): the script mode.

The hyperparameters sagemaker_program and sagemaker_submit_directory name the entry point and the sourcedir.tar.gz that
holds it; the others become flags, and all that the script may want to know SM_* variables. Standard library only.
"""

import hashlib
import hmac
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import urllib.parse
import urllib.request

import textmill_environment

BASE = os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
INPUT, CODE = os.path.join(BASE, "input"), os.path.join(BASE, "code")
CONFIG = os.path.join(INPUT, "config")
OUTPUT = os.path.join(BASE, "output")
MOST_UNPACKED = 4 << 30  # bytes
LAST_WORDS = 16 << 10


class Failed(Exception):
    """What ends the job, in words for its user."""


def config(name):
    path = os.path.join(CONFIG, name)
    return json.load(open(path)) if os.path.exists(path) else {}


def decoded(text):
    """A value as the SDK encoded it; what is no JSON is a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def get_object(url):
    """The bytes of s3://bucket/key at AWS_ENDPOINT_URL, the request signed with the job's credentials."""
    bucket, _, key = url[len("s3://"):].partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint or not key:
        raise Failed(f"{url}: expected s3://bucket/key, and AWS_ENDPOINT_URL in the environment, which jobs with EnableNetworkIsolation lack")
    region = os.environ.get("AWS_REGION", "us-east-1")
    path = "/" + urllib.parse.quote(f"{bucket}/{key}", safe="/-_.~")
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {"host": urllib.parse.urlsplit(endpoint).netloc, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": moment}
    if os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = os.environ["AWS_SESSION_TOKEN"]
    names = ";".join(sorted(headers))
    request = "\n".join(["GET", path, "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, "UNSIGNED-PAYLOAD"])
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = ("AWS4" + os.environ.get("AWS_SECRET_ACCESS_KEY", "")).encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), "sha256").digest()
    headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={os.environ.get('AWS_ACCESS_KEY_ID', '')}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    try:
        server = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a job's proxies lead elsewhere
        with server.open(urllib.request.Request(endpoint.rstrip("/") + path, headers=headers), timeout=60) as answer:
            return answer.read()
    except OSError as error:
        raise Failed(f"{url}: {error}") from error


def unpack(archive, folder):
    """Files and folders that stay in `folder`; anything else in an archive is refused."""
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = member.name.split("/")
            if member.name.startswith("/") or ".." in parts or not (member.isfile() or member.isdir()):
                raise Failed(f"{archive}: {member.name}: neither a file nor a folder inside the archive")
            total += member.size
            if total > MOST_UNPACKED:
                raise Failed(f"{archive}: more than {MOST_UNPACKED} bytes unpacked")
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            # Where its owner is not mapped, lchown fails and tarfile skips the mode and the times silently.
            member.uid, member.gid = os.geteuid(), os.getegid()
            tar.extract(member, folder, set_attrs=True, numeric_owner=True)


def fetch_code(url):
    os.makedirs(CODE, exist_ok=True)
    if url.startswith("s3://"):
        with tempfile.TemporaryDirectory() as folder:
            archive = os.path.join(folder, "sourcedir.tar.gz")
            with open(archive, "wb") as out:
                out.write(get_object(url))
            unpack(archive, CODE)
        return CODE
    if os.path.isdir(url):
        return url
    if os.path.isfile(url):  # of a channel, where there is no network
        unpack(url, CODE)
        return CODE
    raise Failed(f"sagemaker_submit_directory {url}: expected s3://bucket/key, or a folder or archive that is there")


def flags(hyperparameters):
    """--name value, as the toolkit orders and writes them: lists as Python does, mappings as a=1,b=2, nothing as an empty word."""
    out = []
    for name, value in sorted(hyperparameters.items()):
        if isinstance(value, dict):
            value = ",".join(f"{key}={item}" for key, item in sorted(value.items()))
        out += [("-" if len(name) == 1 else "--") + name, "" if value is None else str(value)]
    return out


def meeting_port(host):
    """Each job's own, since what listens there (torch's store) does so on all addresses, which jobs share; 7777 where they do not."""
    try:
        _, high, low, _ = map(int, socket.gethostbyname(host).split("."))
    except OSError:
        return 7777
    return 10000 + (high * 256 + low) % 20000


def written(value):
    """As the toolkit writes a variable."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


def variables(hyperparameters, own, arguments, module_dir):
    resources, channels = config("resourceconfig.json"), config("inputdataconfig.json")
    hosts = resources.get("hosts") or ["algo-1"]
    current = resources.get("current_host", "algo-1")
    program = own.get("sagemaker_program", "")
    values = {
        "MODEL_DIR": os.path.join(BASE, "model"), "INPUT_DIR": INPUT, "INPUT_CONFIG_DIR": CONFIG, "OUTPUT_DIR": OUTPUT,
        "OUTPUT_DATA_DIR": os.path.join(OUTPUT, "data"), "OUTPUT_INTERMEDIATE_DIR": os.path.join(OUTPUT, "intermediate"),
        "CHANNELS": sorted(channels), "HPS": hyperparameters, "USER_ARGS": arguments, "INPUT_DATA_CONFIG": channels,
        "RESOURCE_CONFIG": resources, "HOSTS": hosts, "CURRENT_HOST": current, "HOST_COUNT": len(hosts),
        "CURRENT_HOST_RANK": hosts.index(current) if current in hosts else 0, "MASTER_ADDR": hosts[0], "MASTER_PORT": str(meeting_port(hosts[0])),
        "NUM_GPUS": 0, "NUM_NEURONS": 0, "NUM_CPUS": len(os.sched_getaffinity(0)), "LOG_LEVEL": own.get("sagemaker_container_log_level", 20),
        "NETWORK_INTERFACE_NAME": resources.get("network_interface_name", "eth0"), "MODULE_NAME": os.path.splitext(program)[0],
        "MODULE_DIR": own.get("sagemaker_submit_directory", module_dir), "USER_ENTRY_POINT": program, "FRAMEWORK_MODULE": "",
        "CURRENT_INSTANCE_TYPE": resources.get("current_instance_type", "local"),
        "CURRENT_INSTANCE_GROUP": resources.get("current_group_name", "homogeneousCluster"),
        "CURRENT_INSTANCE_GROUP_HOSTS": hosts, "INSTANCE_GROUPS": [g["instance_group_name"] for g in resources.get("instance_groups", [])],
        "IS_HETERO": False, "FRAMEWORK_PARAMS": own,
    }
    folders = {channel: os.path.join(INPUT, "data", channel) for channel in channels}
    for channel, channel_folder in folders.items():
        values[f"CHANNEL_{channel.upper()}"] = channel_folder
    for name, value in hyperparameters.items():
        values[f"HP_{name.upper()}"] = values[f"HP_{name.upper().replace('-', '_')}"] = value  # the second can be named in a shell
    values["TRAINING_ENV"] = dict(
        {name.lower(): value for name, value in values.items()}, hyperparameters=hyperparameters, channel_input_dirs=folders,
        additional_framework_parameters=own, job_name=own.get("sagemaker_job_name", ""), is_master=current == hosts[0], master_hostname=hosts[0])
    return {f"SM_{name}": written(value) for name, value in values.items()}


# What the SDK's `distribution=` becomes: hyperparameters. On CPUs a process a host is the whole of torch's two.
TORCHRUN = ("sagemaker_torch_distributed_enabled", "sagemaker_pytorch_ddp_enabled")
UNBUILT = {"sagemaker_mpi_enabled": "mpi", "sagemaker_distributed_dataparallel_enabled": "smdistributed",
           "sagemaker_parameter_server_enabled": "parameter_server", "sagemaker_multi_worker_mirrored_strategy_enabled": "multi_worker_mirrored_strategy"}


def command_for(program, arguments, folder, own, environment):
    for name, distribution in UNBUILT.items():
        if own.get(name):
            raise Failed(f"the distribution {distribution} ({name}) is not built: torch_distributed is, and scripts find their hosts in SM_HOSTS")
    launcher = []
    if any(own.get(name) for name in TORCHRUN):
        if not program.endswith(".py"):
            raise Failed(f"torch_distributed runs a Python script, {program} is none")
        launcher = ["-m", "torch.distributed.run", f"--nnodes={environment['SM_HOST_COUNT']}", "--nproc_per_node=1", f"--node_rank={environment['SM_CURRENT_HOST_RANK']}",
                    f"--master_addr={environment['SM_MASTER_ADDR']}", f"--master_port={environment['SM_MASTER_PORT']}"]
    if program.endswith(".py"):
        script = ["-m", os.path.splitext(program)[0].replace("/", ".")] if is_package(folder, program) and not launcher else [program]
        return [sys.executable, "-u", *launcher, *script, *arguments]
    # Its first line says what runs it; without one the shell does.
    script = os.path.join(folder, program)
    os.chmod(script, os.stat(script).st_mode | 0o111)
    return ["/bin/sh", "-c", shlex.join(["./" + program, *arguments])]


def pip_install(what, folder):
    if textmill_environment.pip_install(what, folder):
        raise Failed("the packages of %s could not be installed; the job's log says why" % what[-1])


def install_requirements(folder, program):
    """What requirements.txt names, unless that is done already, and a source that is a package, as the toolkit does."""
    if os.path.exists(os.path.join(folder, "requirements.txt")) and not os.environ.get("TEXTMILL_REQUIREMENTS"):
        print("installing requirements.txt", flush=True)
        pip_install(["-r", "requirements.txt"], folder)
    if is_package(folder, program):
        pip_install(["."], folder)


def is_package(folder, program):
    return program.endswith(".py") and os.path.exists(os.path.join(folder, "setup.py"))


def run(command, environment, folder):
    """The script, with signals passed on to it; its status, and the last that it said on stderr, which goes on to ours."""
    child = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    said = bytearray()

    def pass_on():
        while block := os.read(child.stderr.fileno(), 1 << 16):
            sys.stderr.buffer.write(block)
            sys.stderr.flush()
            said[:] = (said + block)[-LAST_WORDS:]

    follower = threading.Thread(target=pass_on, daemon=True)
    follower.start()
    status = child.wait()
    follower.join(1)  # what it started may hold stderr for long
    return status, said.decode(errors="replace")


def error_message(said):
    """Of a Python program that ended by an exception, the exception."""
    _, traceback_line, rest = said.rpartition("Traceback (most recent call last)")
    words = [line for line in rest.splitlines()[1:] if line and not line.startswith(" ")]
    return f'; ErrorMessage "{words[0]}"' if traceback_line and words else ""


def main():
    all_of_them = {name: decoded(value) for name, value in config("hyperparameters.json").items()}
    own = {name: value for name, value in all_of_them.items() if name.startswith("sagemaker_") or name == "_tuning_objective_metric"}
    hyperparameters = {name: value for name, value in all_of_them.items() if name not in own}
    program = own.get("sagemaker_program") or os.environ.get("SAGEMAKER_PROGRAM")
    source = own.get("sagemaker_submit_directory") or os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY")
    if not program or not source:
        raise Failed("the hyperparameters sagemaker_program and sagemaker_submit_directory name the script; they are not there")
    folder = fetch_code(source)
    if not os.path.isfile(os.path.join(folder, program)):
        raise Failed(f"{source} holds no {program}")
    arguments = flags(hyperparameters)
    environment = dict(os.environ, **variables(hyperparameters, own, arguments, folder))
    install_requirements(folder, program)
    environment["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [environment.get("PYTHONPATH")])])
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR", "SM_OUTPUT_INTERMEDIATE_DIR"):
        os.makedirs(environment[name], exist_ok=True)
    command = command_for(program, arguments, folder, own, environment)
    print("Invoking script with the following command:\n\n" + shlex.join(command) + "\n", flush=True)
    status, said = run(command, environment, folder)
    if status:
        raise Failed(f"ExecuteUserScriptError: ExitCode {status}{error_message(said)}; Command \"{shlex.join(command)}\"")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        if not isinstance(error, Failed):
            traceback.print_exc()
        os.makedirs(OUTPUT, exist_ok=True)
        failure = os.path.join(OUTPUT, "failure")
        if not os.path.exists(failure):  # the script's own words go first
            with open(failure, "w") as out:
                out.write(str(error) or type(error).__name__)
        print(error, file=sys.stderr)
        sys.exit(1)
