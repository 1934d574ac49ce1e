"""TLS: certificates of many kinds, and what clients and our own commands need to trust them."""

import gzip
import os
import shutil
import ssl
import subprocess
import sys

import pytest

from ..servers import Server, await_that
from .test_operate import in_shell

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="the program openssl is not installed")
WHOAMI = f"{sys.executable} -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity()[\"Account\"])'"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def operate(textmill, folder):
    return lambda *arguments, **kwargs: textmill(arguments[0], "--data-dir", folder, *arguments[1:], **kwargs)


@pytest.fixture
def serve(build, folder):
    """serve(*options): a server on the folder, ended with the test."""
    running = []

    def start(*options):
        running.append(Server(build / "textmill", folder, *map(str, options)).start())
        return running[0]

    yield start
    for server in running:
        assert server.stop() == 0


def openssl(*arguments, **kwargs):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, **kwargs).stdout


@pytest.fixture
def certificate(tmp_path):
    """certificate(name): a fresh self-signed one for 127.0.0.1 and localhost; written over the last."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def make(name):
        fresh = [tmp_path / "fresh-cert.pem", tmp_path / "fresh-key.pem"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", fresh[0], "-keyout", fresh[1]], check=True, capture_output=True)
        os.replace(fresh[1], key)
        os.replace(fresh[0], cert)
        return cert, key

    return make


def test_tls_and_a_new_certificate(build, folder, operate, certificate, tmp_path):
    cert, key = certificate("first")
    server = Server(build / "textmill", folder, "--tls-cert", str(cert), "--tls-key", str(key)).start()
    try:
        assert server.url.startswith("https://")
        s3 = server.client("s3", verify=str(cert))
        s3.create_bucket(Bucket="secret")
        s3.put_object(Bucket="secret", Key="k", Body=b"x" * 100_000)  # over TLS: aws-chunked, with a trailer
        assert s3.get_object(Bucket="secret", Key="k")["Body"].read() == b"x" * 100_000
        s3.put_object(Bucket="secret", Key="z", Body=gzip.compress(b"hi"), ContentEncoding="gzip")  # "gzip,aws-chunked" on the way
        assert s3.head_object(Bucket="secret", Key="z")["ContentEncoding"] == "gzip"
        assert "ok runs at https://" in operate("status").stdout

        # SageMaker's SDKs take STS's address from botocore's table alone, and speak TLS to it.
        lines = operate("env", "--sdk").stdout
        done = in_shell(lines, f"{sys.executable} -c 'import boto3; print(boto3.client(\"s3\").list_buckets()[\"Buckets\"][0][\"Name\"], boto3.Session().get_available_regions(\"s3\"))'", tmp_path)
        assert done.stdout == "secret ['us-east-1']\n", done.stderr
        script = ("import boto3, botocore.session as s\nhost = s.get_session().get_component('endpoint_resolver').construct_endpoint('sts', 'us-east-1')['hostname']\n"
                  "print(boto3.client('sts', endpoint_url='https://' + host).get_caller_identity()['Account'])")
        done = in_shell(lines, f"{sys.executable} - <<'END'\n{script}\nEND", tmp_path)
        assert done.stdout == "123456789012\n", done.stderr

        assert common_name(server) == "first"
        certificate("second")
        await_that(lambda: common_name(server) == "second", "the new certificate")
    finally:
        assert server.stop() == 0


def common_name(server):
    pem = ssl.get_server_certificate(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
    return openssl("x509", "-noout", "-subject", input=pem).split("CN = ")[1].strip()


def test_a_pair_of_files_that_come_one_after_the_other(serve, certificate, tmp_path):
    """A key is made before its certificate, and may be moved in after it."""
    cert, key = certificate("first")
    server = serve("--tls-cert", cert, "--tls-key", key)
    held = tmp_path / "held"
    held.mkdir()
    shutil.copy2(cert, held), shutil.copy2(key, held)
    certificate("second")
    for file in (cert, key):
        os.replace(file, held / f"new-{file.name}")
        os.replace(held / file.name, file)
    os.replace(held / "new-cert.pem", cert)
    said = lambda event: [line for line in server.log_lines() if line["event"] == event]
    await_that(lambda: said("certificate_not_reloaded"), "half a pair is noticed")
    assert common_name(server) == "first"
    os.replace(held / "new-key.pem", key)
    await_that(lambda: common_name(server) == "second", "the whole pair")
    assert len(said("certificate_not_reloaded")) == 1


@pytest.fixture
def issued(tmp_path):
    """issued(subjectAltName): the chain of a certificate (leaf, intermediate), its key, and the authority's own certificate."""

    def make(names):
        root, middle, leaf = (tmp_path / name for name in ("root", "middle", "leaf"))
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]
        authority = ["-extfile", tmp_path / "ca.ext"]
        (tmp_path / "ca.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
        (tmp_path / "leaf.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        openssl(*new, "/CN=root", "-x509", "-days", 2, "-out", f"{root}.pem", "-keyout", f"{root}.key", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        for who, by, extensions in ((middle, root, authority), (leaf, middle, ["-extfile", tmp_path / "leaf.ext"])):
            openssl(*new, f"/CN={who.name}", "-out", f"{who}.csr", "-keyout", f"{who}.key")
            openssl("x509", "-req", "-in", f"{who}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", 2, "-out", f"{who}.pem", *extensions)
        chain = tmp_path / "chain.pem"
        chain.write_text((tmp_path / "leaf.pem").read_text() + (tmp_path / "middle.pem").read_text())
        return chain, tmp_path / "leaf.key", tmp_path / "root.pem"

    return make


def test_a_certificate_of_an_authority(serve, operate, issued, tmp_path):
    """Clients trust who they trust already, or --tls-ca; our own commands know the very certificate."""
    chain, key, root = issued("IP:127.0.0.1")
    server = serve("--tls-cert", chain, "--tls-key", key)
    assert "ok runs at https://127.0.0.1:" in operate("status").stdout and "root" in operate("keys").stdout
    operate("backup", tmp_path / "copy")
    env = operate("env").stdout
    assert "export AWS_CA_BUNDLE" not in env
    done = in_shell(env, WHOAMI, tmp_path, AWS_CA_BUNDLE=str(root))
    assert done.stdout == "123456789012\n", f"whom one trusts already stays trusted: {done.stderr}"
    server.stop()
    server.options += ("--tls-ca", str(root))
    server.start()
    done = in_shell(operate("env").stdout, WHOAMI, tmp_path)
    assert done.stdout == "123456789012\n", done.stderr
    assert f"ca_bundle = {root}" in operate("env", "--profile").stdout


def test_a_certificate_that_names_no_address(serve, operate, issued):
    """Such as one of a public authority. Clients are told its name."""
    chain, key, root = issued("DNS:localhost")
    serve("--listen", "0.0.0.0:0", "--tls-cert", chain, "--tls-key", key, "--tls-ca", root, "--url", "https://localhost:8333/")
    assert "root" in operate("keys").stdout
    assert "export AWS_ENDPOINT_URL='https://localhost:8333'\n" in operate("env").stdout


def test_somebody_else_at_the_server_s_address(serve, operate, certificate, issued, tmp_path):
    """Our own commands sign nothing for whom they do not know."""
    cert, key = certificate("first")
    serve("--tls-cert", cert, "--tls-key", key)
    cert.write_text(issued("IP:127.0.0.1")[0].read_text())
    done = operate("keys", check=False)
    assert done.returncode == 1 and "its certificate" in done.stderr, done.stderr


def test_an_address_of_version_6(serve, operate, tmp_path):
    server = serve("--listen", "[::1]:0")
    assert server.url.startswith("http://[::1]:") and "root" in operate("keys").stdout
    operate("backup", tmp_path / "copy")
