"""Logs: groups, streams, events, tokens, patterns, retention, tags; by boto3 and the command line clients."""

import json
import time

import pytest
from botocore.config import Config

from ..servers import await_that

ARN = "arn:aws:logs:us-east-1:123456789012:log-group:"
DAY = 86_400_000


@pytest.fixture(scope="module")
def logs(server):
    return server.client("logs")


@pytest.fixture
def stream(logs, name):
    """A fresh stream, as the arguments that name it."""
    where = {"logGroupName": name("/group"), "logStreamName": "job/algo-1-100"}
    logs.create_log_group(logGroupName=where["logGroupName"])
    logs.create_log_stream(**where)
    return where


def now():
    return int(time.time() * 1000)


def put(logs, where, messages, start=None, step=1):
    start = now() if start is None else start
    return logs.put_log_events(**where, logEvents=[{"timestamp": start + i * step, "message": m} for i, m in enumerate(messages)])


def messages(answer):
    return [e["message"] for e in answer["events"]]


def test_groups(logs, name, refused):
    group = name("/aws/sagemaker/TrainingJobs")
    logs.create_log_group(logGroupName=group, tags={"team": "nlp"}, kmsKeyId="key")
    assert refused(logs.create_log_group, logGroupName=group) == (
        "ResourceAlreadyExistsException", 400, "The specified log group already exists")
    [shown] = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert (shown["arn"], shown["logGroupArn"], shown["storedBytes"], shown["kmsKeyId"], shown["logGroupClass"]) == (
        f"{ARN}{group}:*", ARN + group, 0, "key", "STANDARD")
    assert abs(shown["creationTime"] - now()) < 60_000 and "retentionInDays" not in shown
    assert logs.describe_log_groups(logGroupIdentifiers=[ARN + group, "nothing"])["logGroups"] == [shown]
    logs.delete_log_group(logGroupName=group)
    assert refused(logs.delete_log_group, logGroupName=group) == (
        "ResourceNotFoundException", 400, "The specified log group does not exist.")
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] == []


def test_lists_of_groups(logs, name, refused):
    prefix = name("/many")
    names = [f"{prefix}/{i:02}" for i in range(23)]
    for group in names:
        logs.create_log_group(logGroupName=group)
    pages = list(logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=prefix, PaginationConfig={"PageSize": 5}))
    assert [len(p["logGroups"]) for p in pages] == [5, 5, 5, 5, 3] and "nextToken" not in pages[-1]
    assert [g["logGroupName"] for p in pages for g in p["logGroups"]] == names
    assert [g["logGroupName"] for g in logs.describe_log_groups(logGroupNamePattern=prefix[1:] + "/1")["logGroups"]] == names[10:20]
    assert refused(logs.describe_log_groups, logGroupNamePrefix="a", logGroupNamePattern="b")[0] == "InvalidParameterException"
    token = pages[0]["nextToken"]
    assert refused(logs.describe_log_groups, nextToken=token[:-4] + "AAAA")[0] == "InvalidParameterException"


def test_protected_groups(logs, name, refused):
    group = name("/kept")
    logs.create_log_group(logGroupName=group, deletionProtectionEnabled=True)
    assert refused(logs.delete_log_group, logGroupName=group)[:2] == ("ValidationException", 400)
    logs.put_log_group_deletion_protection(logGroupIdentifier=group, deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName=group)


def test_tags(logs, name, refused):
    group = name("/tagged")
    logs.create_log_group(logGroupName=group, tags={"a": "1"})
    arn = ARN + group
    logs.tag_resource(resourceArn=arn, tags={"b": "2", "a": "3"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "3", "b": "2"}
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    logs.tag_log_group(logGroupName=group, tags={"c": "4"})
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {"b": "2", "c": "4"}
    logs.untag_log_group(logGroupName=group, tags=["b", "c"])
    assert logs.list_tags_log_group(logGroupName=group)["tags"] == {}
    logs.tag_resource(resourceArn=arn, tags={f"k{i}": "v" for i in range(50)})
    assert refused(logs.tag_resource, resourceArn=arn, tags={"one": "more"})[:2] == ("TooManyTagsException", 400)
    assert refused(logs.tag_resource, resourceArn=arn, tags={"aws:x": "1"})[0] == "InvalidParameterException"
    assert refused(logs.list_tags_for_resource, resourceArn=arn + "x")[0] == "ResourceNotFoundException"
    assert refused(logs.list_tags_for_resource, resourceArn="arn:aws:s3:::b")[0] == "InvalidParameterException"


def test_streams(logs, stream, refused):
    assert refused(logs.create_log_stream, **stream) == ("ResourceAlreadyExistsException", 400, "The specified log stream already exists")
    group = stream["logGroupName"]
    [shown] = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert shown["arn"] == f"{ARN}{group}:log-stream:job/algo-1-100"
    assert not shown.keys() & {"firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime"} and shown["storedBytes"] == 0
    at = now() - 1000
    put(logs, stream, ["one", "two"], at, 500)
    [shown] = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert (shown["firstEventTimestamp"], shown["lastEventTimestamp"]) == (at, at + 500)
    assert shown["lastIngestionTime"] >= at and shown["storedBytes"] == 6
    logs.delete_log_stream(**stream)
    for call in (logs.delete_log_stream, logs.get_log_events):
        assert refused(call, **stream) == ("ResourceNotFoundException", 400, "The specified log stream does not exist.")
    logs.create_log_stream(**stream)
    assert logs.get_log_events(**stream)["events"] == []


def test_lists_of_streams(logs, name, refused):
    group = name("/streams")
    logs.create_log_group(logGroupName=group)
    names = [f"{job}/algo-{i}" for job in ("a", "b") for i in range(7)]
    at = now() - 60_000
    for i, stream in enumerate(names):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        put(logs, {"logGroupName": group, "logStreamName": stream}, ["x"], at + (i * 5 % 14) * 1000)

    def listed(**arguments):
        pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, PaginationConfig={"PageSize": 4}, **arguments)
        return [s["logStreamName"] for p in pages for s in p["logStreams"]]

    assert listed() == names
    assert listed(descending=True) == names[::-1]
    assert listed(logStreamNamePrefix="b/") == names[7:]
    by_time = sorted(names, key=lambda n: names.index(n) * 5 % 14)
    assert listed(orderBy="LastEventTime") == by_time
    assert listed(orderBy="LastEventTime", descending=True) == by_time[::-1]
    # As SageMaker's SDK asks for the streams of a job.
    assert [s["logStreamName"] for s in logs.describe_log_streams(
        logGroupName=group, logStreamNamePrefix="a/", orderBy="LogStreamName", limit=2)["logStreams"]] == names[:2]
    assert refused(logs.describe_log_streams, logGroupName=group, logStreamNamePrefix="a", orderBy="LastEventTime") == (
        "InvalidParameterException", 400, "Cannot order by LastEventTime with a logStreamNamePrefix.")


def test_events_that_are_taken_and_refused(logs, stream, refused):
    at = now()
    old, new = at - 15 * DAY, at + 3 * 3_600_000
    answer = put(logs, stream, ["a", "b"], at)
    assert answer["nextSequenceToken"] and "rejectedLogEventsInfo" not in answer
    logs.put_log_events(**stream, sequenceToken="whatever", logEvents=[{"timestamp": at + 2, "message": "c"}])
    assert put(logs, stream, ["old"] * 3, old)["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 3}
    mixed = [{"timestamp": at + 3, "message": "d"}, {"timestamp": new, "message": "new"}, {"timestamp": new, "message": "new"}]
    assert logs.put_log_events(**stream, logEvents=mixed)["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    edge = [{"timestamp": at - 14 * DAY - 1, "message": "old"}, {"timestamp": at - 14 * DAY + 60_000, "message": "just"}]
    assert logs.put_log_events(**stream, logEvents=edge)["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    logs.put_retention_policy(logGroupName=stream["logGroupName"], retentionInDays=3)
    assert put(logs, stream, ["expired"], at - 5 * DAY)["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    logs.delete_retention_policy(logGroupName=stream["logGroupName"])
    got = logs.get_log_events(**stream, startFromHead=True)["events"]
    assert [e["message"] for e in got] == ["just", "a", "b", "c", "d"]
    assert all(abs(e["ingestionTime"] - at) < 60_000 for e in got)

    def events(*times, message="m"):
        return [{"timestamp": t, "message": message} for t in times]

    for wrong, says in [(events(at + 1, at), "chronological order"), (events(at - 2 * DAY, at), "span more than 24 hours"),
                        (events(*[at] * 5, message="x" * (210 << 10)), "Upload too large")]:
        code, status, message = refused(logs.put_log_events, **stream, logEvents=wrong)
        assert (code, status) == ("InvalidParameterException", 400) and says in message
    logs.put_log_events(**stream, logEvents=events(at + 5, message="x" * ((1 << 20) - 26)))
    missing = stream | {"logStreamName": "none"}
    assert refused(logs.put_log_events, **missing, logEvents=events(at))[2] == "The specified log stream does not exist."
    missing = stream | {"logGroupName": "none"}
    assert refused(logs.put_log_events, **missing, logEvents=events(at))[2] == "The specified log group does not exist."


def test_tokens_of_get_log_events(logs, stream):
    """Pages in both directions; the same token back where there is nothing new; no `nextToken`, ever."""
    def get(**arguments):
        answer = logs.get_log_events(**stream, **arguments)
        assert "nextToken" not in answer
        return answer

    for arguments in ({}, {"startFromHead": True}):
        empty = get(**arguments)
        assert empty["events"] == []
        assert get(nextToken=empty["nextForwardToken"])["nextForwardToken"] == empty["nextForwardToken"]
    before_all = empty
    at = now() - 50_000
    put(logs, stream, [f"{i}" for i in range(50)], at, 1000)
    assert messages(get(nextToken=before_all["nextForwardToken"])) == [f"{i}" for i in range(50)]

    seen, token = [], None
    while True:
        page = get(limit=7, startFromHead=True, **({"nextToken": token} if token else {}))
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
        seen += messages(page)
    assert seen == [f"{i}" for i in range(50)] and page["events"] == []
    put(logs, stream, ["more"])
    assert messages(get(nextToken=token)) == ["more"]
    assert messages(get(nextToken=page["nextBackwardToken"], limit=2)) == ["48", "49"]

    last = get(limit=3)
    assert messages(last) == ["48", "49", "more"]
    before = get(limit=3, nextToken=last["nextBackwardToken"])
    assert messages(before) == ["45", "46", "47"]
    assert messages(get(limit=3, nextToken=before["nextForwardToken"])) == ["48", "49", "more"]
    first = get(nextToken=before["nextBackwardToken"])
    assert messages(first) == [f"{i}" for i in range(45)]
    end = get(nextToken=first["nextBackwardToken"])
    assert end["events"] == [] and end["nextBackwardToken"] == first["nextBackwardToken"]

    assert messages(get(startTime=at + 10_000, endTime=at + 13_000, startFromHead=True)) == ["10", "11", "12"]


def test_one_time_and_many_events(logs, stream):
    """Events of one millisecond keep their order of arrival, across batches and pages."""
    at = now()
    for batch in range(20):
        put(logs, stream, [f"{batch}-{i}" for i in range(10)], at, 0)
    expected = [f"{batch}-{i}" for batch in range(20) for i in range(10)]
    assert messages(logs.get_log_events(**stream, startFromHead=True)) == expected
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=stream["logGroupName"], PaginationConfig={"PageSize": 33})
    assert [m for page in pages for m in messages(page)] == expected


def test_pages_end_at_a_megabyte(logs, stream):
    for _ in range(5):
        put(logs, stream, ["x" * (300 << 10)] * 3)
    page = logs.get_log_events(**stream, startFromHead=True)
    assert len(page["events"]) == 3
    assert len(logs.get_log_events(**stream, nextToken=page["nextForwardToken"])["events"]) == 3


def test_tokens_that_are_not_ours(logs, stream, refused, name):
    token = logs.get_log_events(**stream)["nextForwardToken"]
    other = {"logGroupName": name("/other"), "logStreamName": "s"}
    logs.create_log_group(logGroupName=other["logGroupName"])
    logs.create_log_stream(**other)
    for where, wrong in [(stream, "x"), (stream, token + "A"), (stream, "f/" + token[2:][::-1]), (stream, token[2:]), (other, token)]:
        assert refused(logs.get_log_events, **where, nextToken=wrong)[:2] == ("InvalidParameterException", 400)
    assert refused(logs.filter_log_events, logGroupName=other["logGroupName"], nextToken=token)[0] == "InvalidParameterException"


def test_group_identifiers(logs, stream, refused):
    put(logs, stream, ["x"])
    group, name = stream["logGroupName"], stream["logStreamName"]
    for identifier in (group, ARN + group):
        assert messages(logs.get_log_events(logGroupIdentifier=identifier, logStreamName=name)) == ["x"]
        assert messages(logs.filter_log_events(logGroupIdentifier=identifier)) == ["x"]
        assert len(logs.describe_log_streams(logGroupIdentifier=identifier)["logStreams"]) == 1
    for wrong in ({}, {"logGroupName": group, "logGroupIdentifier": group}, {"logGroupIdentifier": "arn:aws:s3:::x"}):
        assert refused(logs.get_log_events, logStreamName=name, **wrong)[0] == "InvalidParameterException"


def test_filter_patterns(logs, name):
    group = name("/filtered")
    logs.create_log_group(logGroupName=group)
    at = now() - 10_000
    lines = {"a/1": ["ERROR disk full", "INFO start", json.dumps({"level": "error", "code": 503})],
             "a/2": ["WARN disk", "127.0.0.1 - frank [10/Oct/2000] \"GET /a.gif\" 404 1534"], "b/1": ["DEBUG ERROR nothing"]}
    for i, (stream, texts) in enumerate(lines.items()):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        put(logs, {"logGroupName": group, "logStreamName": stream}, texts, at + i, 10)
    every = [m for _, m in sorted(((10 * j + i, m) for i, texts in enumerate(lines.values()) for j, m in enumerate(texts)))]

    def found(pattern="", **arguments):
        answer = logs.filter_log_events(logGroupName=group, filterPattern=pattern, **arguments)
        assert len({e["eventId"] for e in answer["events"]}) == len(answer["events"])
        assert all(e["message"] in lines[e["logStreamName"]] for e in answer["events"])
        return messages(answer)

    assert found() == every
    assert found("ERROR") == ["ERROR disk full", "DEBUG ERROR nothing"]
    assert found("ERROR -DEBUG") == ["ERROR disk full"]
    assert found('"disk full"') == ["ERROR disk full"]
    assert found("?WARN ?INFO") == ["WARN disk", "INFO start"]
    assert found('{ $.level = "error" && $.code >= 500 }') == [lines["a/1"][2]]
    assert found("[ip, id, user, time, request, status = 4*, bytes]") == [lines["a/2"][1]]
    assert found("%[0-9]{4}%") == [lines["a/2"][1]]
    assert found("ERROR", logStreamNamePrefix="a/") == ["ERROR disk full"]
    assert found("ERROR", logStreamNames=["b/1"]) == ["DEBUG ERROR nothing"]
    assert found(startTime=at + 10, endTime=at + 11) == [every[3], every[4]]
    # As the SDK follows an endpoint: with interleaved, from where it was.
    assert found(startTime=at + 20, interleaved=True) == [lines["a/1"][2]]


def test_filter_pages(logs, stream, name):
    group = stream["logGroupName"]
    at = now() - 100_000
    for batch in range(10):
        put(logs, stream, [f"{batch}-{i} {'odd' if i % 2 else 'even'}" for i in range(100)], at + batch * 1000)
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern="odd", PaginationConfig={"PageSize": 40}))
    assert [m for p in pages for m in messages(p)] == [f"{b}-{i} odd" for b in range(10) for i in range(1, 100, 2)]
    assert all(len(p["events"]) <= 40 for p in pages) and "nextToken" not in pages[-1]


def test_retention_deletes(server, logs, stream):
    group = stream["logGroupName"]
    put(logs, stream, ["x" * 1000] * 100, now() - 10 * DAY)
    put(logs, stream, ["young"])

    def bytes_of():
        return logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["storedBytes"]

    assert bytes_of() == 100_005
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 7
    assert messages(logs.get_log_events(**stream)) == messages(logs.filter_log_events(logGroupName=group)) == ["young"]
    await_that(lambda: bytes_of() == 5, "old events are gone from the disk")
    logs.delete_retention_policy(logGroupName=group)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
    assert messages(logs.get_log_events(**stream)) == ["young"]


GROUP = {"logGroupName": "/none"}
BAD = [
    ("create_log_group", {"logGroupName": "no spaces"}, "InvalidParameterException", "at 'logGroupName'"),
    ("create_log_group", {"logGroupName": "x" * 513}, "InvalidParameterException", "less than or equal to 512"),
    ("create_log_stream", GROUP | {"logStreamName": "a:b"}, "InvalidParameterException", "at 'logStreamName'"),
    ("create_log_stream", GROUP | {"logStreamName": "a"}, "ResourceNotFoundException", "log group does not exist"),
    ("delete_log_stream", GROUP | {"logStreamName": "a"}, "ResourceNotFoundException", "log group does not exist"),
    ("describe_log_streams", GROUP, "ResourceNotFoundException", "log group does not exist"),
    ("describe_log_streams", GROUP | {"limit": 51}, "InvalidParameterException", "less than or equal to 50"),
    ("describe_log_groups", {"limit": 51}, "InvalidParameterException", "less than or equal to 50"),
    ("describe_log_groups", {"nextToken": "x"}, "InvalidParameterException", "token"),
    ("filter_log_events", GROUP, "ResourceNotFoundException", "log group does not exist"),
    ("filter_log_events", GROUP | {"limit": 10_001}, "InvalidParameterException", "less than or equal to 10000"),
    ("filter_log_events", {}, "InvalidParameterException", "Exactly one of"),
    ("put_log_events", GROUP | {"logStreamName": "a", "logEvents": [{"timestamp": -1, "message": "m"}]}, "InvalidParameterException", "at 'logEvents"),
    ("put_retention_policy", GROUP | {"retentionInDays": 2}, "InvalidParameterException", "Invalid retention value: 2"),
    ("put_retention_policy", GROUP | {"retentionInDays": 3}, "ResourceNotFoundException", "log group does not exist"),
    ("delete_retention_policy", GROUP, "ResourceNotFoundException", "log group does not exist"),
    ("list_tags_log_group", GROUP, "ResourceNotFoundException", "log group does not exist"),
    ("start_query", {"startTime": 0, "endTime": 1, "queryString": "fields x"}, "UnsupportedOperation", "logs:StartQuery"),
    ("put_metric_filter", GROUP | {"filterName": "f", "filterPattern": "", "metricTransformations": []}, "UnsupportedOperation", "logs:PutMetricFilter"),
    ("start_live_tail", {"logGroupIdentifiers": [ARN + "x"]}, "UnsupportedOperation", "logs:StartLiveTail"),
]


@pytest.mark.parametrize("call, arguments, code, says", BAD, ids=[f"{b[0]}-{i}" for i, b in enumerate(BAD)])
def test_bad_input(server, refused, call, arguments, code, says):
    logs = server.client("logs", config=Config(parameter_validation=False, inject_host_prefix=False))
    got, status, message = refused(getattr(logs, call), **arguments)
    assert (got, status) == (code, 400) and says in message


@pytest.mark.parametrize("pattern", ["error:", '"open', "{ $.a", "[a, b", "%a(%", "-"])
def test_bad_patterns(logs, stream, refused, pattern):
    code, status, message = refused(logs.filter_log_events, logGroupName=stream["logGroupName"], filterPattern=pattern)
    assert (code, status) == ("InvalidParameterException", 400) and message.startswith("Invalid filter pattern: at ")
    assert refused(logs.filter_log_events, logGroupName=stream["logGroupName"], startTime=2, endTime=1)[0] == "InvalidParameterException"


def test_the_command_line(aws, name):
    group = name("/cli")
    aws("logs", "create-log-group", "--log-group-name", group)
    where = ["--log-group-name", group, "--log-stream-name", "a/algo-1-1"]
    aws("logs", "create-log-stream", *where)
    at = now()
    events = [{"timestamp": at + i, "message": f"line {i}"} for i in range(30)]
    aws("logs", "put-log-events", *where, "--log-events", json.dumps(events))
    assert messages(aws("logs", "get-log-events", *where, "--start-from-head", "--limit", "3")) == ["line 0", "line 1", "line 2"]
    filtered = aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", '"line 1"', "--page-size", "2")
    assert messages(filtered) == ["line 1"] + [f"line 1{i}" for i in range(10)]
    assert aws("logs", "describe-log-groups", "--log-group-name-prefix", group)["logGroups"][0]["storedBytes"] > 0
    if aws.version == 2:
        tailed = aws("logs", "tail", group, "--format", "short", "--since", "1h")
        assert [line.split(" ", 1)[1] for line in tailed.splitlines()] == [f"line {i}" for i in range(30)]
    assert "(InvalidParameterException)" in aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "{", fails=True)
    aws("logs", "delete-log-group", "--log-group-name", group)
    assert "(ResourceNotFoundException)" in aws("logs", "describe-log-streams", "--log-group-name", group, fails=True)
