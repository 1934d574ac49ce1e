"""Runs a user's training script as SageMaker's framework images do (the toolkit's layer): the script mode.

The hyperparameters sagemaker_program and sagemaker_submit_directory name the entry point and the sourcedir.tar.gz that
holds it; the others become flags, and all that the script may want to know SM_* variables. Standard library only.
"""

import hashlib
import hmac
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import urllib.parse
import urllib.request

BASE = os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
INPUT, CODE = os.path.join(BASE, "input"), os.path.join(BASE, "code")
CONFIG = os.path.join(INPUT, "config")
OUTPUT = os.path.join(BASE, "output")
MOST_UNPACKED = 4 << 30  # bytes


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
        raise Failed(f"{url}: expected s3://bucket/key, and AWS_ENDPOINT_URL in the environment")
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
        with urllib.request.urlopen(urllib.request.Request(endpoint.rstrip("/") + path, headers=headers), timeout=60) as answer:
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
            tar.extract(member, folder, set_attrs=True)


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
    """--name value, as the toolkit orders and writes them."""
    out = []
    for name, value in sorted(hyperparameters.items()):
        out += [("-" if len(name) == 1 else "--") + name, value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return out


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
        "CURRENT_HOST_RANK": hosts.index(current) if current in hosts else 0, "MASTER_ADDR": hosts[0], "MASTER_PORT": "7777",
        "NUM_GPUS": 0, "NUM_NEURONS": 0, "NUM_CPUS": len(os.sched_getaffinity(0)), "LOG_LEVEL": own.get("sagemaker_container_log_level", 20),
        "NETWORK_INTERFACE_NAME": resources.get("network_interface_name", "eth0"), "MODULE_NAME": os.path.splitext(program)[0],
        "MODULE_DIR": own.get("sagemaker_submit_directory", module_dir), "USER_ENTRY_POINT": program, "FRAMEWORK_MODULE": "",
        "CURRENT_INSTANCE_TYPE": resources.get("current_instance_type", "local"),
        "CURRENT_INSTANCE_GROUP": resources.get("current_group_name", "homogeneousCluster"),
        "CURRENT_INSTANCE_GROUP_HOSTS": hosts, "INSTANCE_GROUPS": [g["instance_group_name"] for g in resources.get("instance_groups", [])],
        "IS_HETERO": False, "FRAMEWORK_PARAMS": own,
    }
    for channel in channels:
        values[f"CHANNEL_{channel.upper()}"] = os.path.join(INPUT, "data", channel)
    for name, value in hyperparameters.items():
        values[f"HP_{name.upper().replace('-', '_')}"] = value
    values["TRAINING_ENV"] = {name.lower(): value for name, value in values.items()} | {"hyperparameters": hyperparameters, "job_name": own.get("sagemaker_job_name", "")}
    return {f"SM_{name}": value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def install_requirements(folder):
    """What requirements.txt names, unless that is done already; returns the folder."""
    if os.environ.get("TEXTMILL_REQUIREMENTS"):
        return os.environ["TEXTMILL_REQUIREMENTS"]  # they are installed already
    wanted = os.path.join(folder, "requirements.txt")
    if not os.path.exists(wanted):
        return None
    target = tempfile.mkdtemp(prefix="requirements-")
    print(f"installing {wanted}", flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-cache-dir", "--target", target, "-r", wanted])
    if done.returncode:
        raise Failed("the packages of requirements.txt could not be installed; the job's log says why")
    return target


def run(command, environment, folder):
    """The script, with signals passed on to it; its status."""
    import signal
    child = subprocess.Popen(command, cwd=folder, env=environment)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    while True:
        try:
            return child.wait()
        except InterruptedError:
            continue


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
    installed = install_requirements(folder)
    paths = [folder, *([installed] if installed else []), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    for name in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR", "SM_OUTPUT_INTERMEDIATE_DIR"):
        os.makedirs(environment[name], exist_ok=True)
    if program.endswith(".sh"):
        command = ["/bin/sh", program, *arguments]
    else:
        command = [sys.executable, "-u", program, *arguments]
    print("Invoking script with the following command:\n\n" + shlex.join(command) + "\n", flush=True)
    status = run(command, environment, folder)
    if status:
        raise Failed(f"ExecuteUserScriptError: ExitCode {status}; Command \"{shlex.join(command)}\"")


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
