"""A server per file, with a fresh folder; tests name what they make by `name`."""

import itertools

import pytest

from ..servers import Server


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    server = Server(build / "textmill", tmp_path_factory.mktemp("server") / "data", "--sync", "process").start()
    yield server
    assert server.stop() == 0
    failed = [line for line in server.log_lines() if line["level"] == "error"]
    assert not failed, f"the server logged errors: {failed[:5]}"


_count = itertools.count(1)


@pytest.fixture
def name():
    """name("model"): a new name each time."""
    return lambda prefix="n": f"{prefix}-{next(_count)}"


@pytest.fixture
def refused():
    """refused(call, **arguments): the code, status and message of the error that it must end with."""
    from botocore.exceptions import ClientError

    def run(call, **arguments):
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        error = caught.value.response
        assert error["ResponseMetadata"]["RequestId"]
        return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]

    return run
