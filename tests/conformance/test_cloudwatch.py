"""Metrics in and out, by both protocols that clients speak: JSON 1.0 in query mode, and the older query with XML."""

import datetime
import json
import math
import random
import time
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.session
import pytest
from botocore.config import Config

NOW = int(time.time()) // 60 * 60
SPACE = "Test/Metrics"


def client_of(server, protocol, tmp_path_factory, **kwargs):
    """A client of the model, spoken in one of its protocols alone."""
    loader = botocore.loaders.create_loader()
    model = loader.load_service_model("cloudwatch", "service-2")
    model["metadata"] |= {"protocol": protocol, "protocols": [protocol]}
    folder = tmp_path_factory.mktemp("models") / "cloudwatch" / model["metadata"]["apiVersion"]
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps(model))
    session = botocore.session.Session()
    mine = botocore.loaders.Loader(extra_search_paths=[str(folder.parent.parent)])
    session.register_component("data_loader", mine)
    client = server.client("cloudwatch", session=boto3.Session(botocore_session=session), **kwargs)
    assert client.meta.service_model.resolved_protocol == protocol
    return client


@pytest.fixture(scope="module")
def clients(server, tmp_path_factory):
    return {"json": server.client("cloudwatch"), "query": client_of(server, "query", tmp_path_factory)}


@pytest.fixture(scope="module", params=["json", "query"])
def cloudwatch(request, clients):
    assert clients["json"].meta.service_model.resolved_protocol == "json"
    return clients[request.param]


@pytest.fixture
def metric(name):
    """A metric that nobody else has."""
    return name("metric")


def at(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def put(cloudwatch, metric, values, start=NOW - 3600, step=60, **more):
    cloudwatch.put_metric_data(Namespace=SPACE, MetricData=[
        {"MetricName": metric, "Timestamp": at(start + i * step), "Value": v} | more for i, v in enumerate(values)])


def statistics(cloudwatch, metric, start=NOW - 3600, end=NOW, period=60, names=("Average",), **more):
    answer = cloudwatch.get_metric_statistics(Namespace=SPACE, MetricName=metric, StartTime=at(start), EndTime=at(end), Period=period,
                                              **({"Statistics": list(names)} if names else {}), **more)
    assert answer["Label"] == metric
    return answer["Datapoints"]


def data(cloudwatch, *queries, start=NOW - 3600, end=NOW, **more):
    return cloudwatch.get_metric_data(MetricDataQueries=list(queries), StartTime=at(start), EndTime=at(end), ScanBy="TimestampAscending", **more)


def stat(id, metric, stat="Average", period=60, dimensions=(), **more):
    return {"Id": id, "MetricStat": {"Metric": {"Namespace": SPACE, "MetricName": metric, "Dimensions": list(dimensions)}, "Period": period, "Stat": stat}} | more


def test_values_come_back(cloudwatch, metric):
    """The same by GetMetricStatistics and GetMetricData: every statistic in every period."""
    chance = random.Random(1)
    values = [chance.uniform(-5, 100) for _ in range(60)]
    put(cloudwatch, metric, values, Unit="Seconds")
    for period in (60, 300, 1200):
        groups = [values[i : i + period // 60] for i in range(0, 60, period // 60)]
        expected = {"SampleCount": [len(g) for g in groups], "Sum": [sum(g) for g in groups], "Average": [sum(g) / len(g) for g in groups],
                    "Minimum": [min(g) for g in groups], "Maximum": [max(g) for g in groups]}
        points = statistics(cloudwatch, metric, period=period, names=expected)
        assert [p["Timestamp"].timestamp() for p in points] == list(range(NOW - 3600, NOW, period))
        assert {p["Unit"] for p in points} == {"Seconds"}
        for name, wanted in expected.items():
            assert [p[name] for p in points] == pytest.approx(wanted)
            [result] = data(cloudwatch, stat("m1", metric, name, period))["MetricDataResults"]
            assert (result["Id"], result["Label"], result["StatusCode"]) == ("m1", metric, "Complete")
            assert result["Values"] == [p[name] for p in points] and result["Timestamps"] == [p["Timestamp"] for p in points]


def test_both_protocols_give_the_same(clients, metric):
    put(clients["json"], metric, [1.5, math.pi, 1e-9, -2e9])
    put(clients["query"], metric, [0.1, 7])
    answers = [statistics(c, metric, names=["Sum", "SampleCount", "Maximum"], ExtendedStatistics=["p50"]) for c in clients.values()]
    assert answers[0] == answers[1] and len(answers[0]) == 4
    answers = [data(c, stat("m1", metric), {"Id": "e1", "Expression": "m1 * 2"}) for c in clients.values()]
    assert answers[0]["MetricDataResults"] == answers[1]["MetricDataResults"]
    answers = [c.list_metrics(Namespace=SPACE, MetricName=metric)["Metrics"] for c in clients.values()]
    assert answers[0] == answers[1] == [{"Namespace": SPACE, "MetricName": metric, "Dimensions": []}]


def test_values_with_counts_and_sets(cloudwatch, metric):
    cloudwatch.put_metric_data(Namespace=SPACE, MetricData=[{"MetricName": metric, "Timestamp": at(NOW - 60), "Values": [1, 2, 10], "Counts": [5, 4, 1]}])
    [point] = statistics(cloudwatch, metric, names=["SampleCount", "Sum", "Minimum", "Maximum"], ExtendedStatistics=["p50", "p100", "tm90", "PR(1:2)"])
    assert (point["SampleCount"], point["Sum"], point["Minimum"], point["Maximum"]) == (10, 23, 1, 10)
    assert point["ExtendedStatistics"] == pytest.approx({"p50": 1.5, "p100": 10, "tm90": 13 / 9, "PR(1:2)": 40})
    statistic_set = {"SampleCount": 2, "Sum": 7, "Minimum": 3, "Maximum": 4}
    cloudwatch.put_metric_data(Namespace=SPACE, MetricData=[{"MetricName": metric, "Timestamp": at(NOW - 120), "StatisticValues": statistic_set}])
    [point, _] = statistics(cloudwatch, metric, names=["SampleCount", "Sum", "Minimum", "Maximum", "Average"])
    assert statistic_set.items() <= point.items() and point["Average"] == 3.5
    # A sum has no percentiles.
    assert [p["Timestamp"].timestamp() for p in statistics(cloudwatch, metric, names=(), ExtendedStatistics=["p99"])] == [NOW - 60]


def test_units_and_dimensions(cloudwatch, metric):
    host = [{"Name": "Host", "Value": "algo-1"}, {"Name": "Job", "Value": "j"}]
    put(cloudwatch, metric, [1], Unit="Percent")
    put(cloudwatch, metric, [2], Unit="Count")
    put(cloudwatch, metric, [3], Dimensions=host)
    assert sorted((p["Unit"], p["Average"]) for p in statistics(cloudwatch, metric)) == [("Count", 2), ("Percent", 1)]
    assert [p["Average"] for p in statistics(cloudwatch, metric, Unit="Percent")] == [1]
    for dimensions in (host, host[::-1]):
        assert [(p["Average"], p["Unit"]) for p in statistics(cloudwatch, metric, Dimensions=dimensions)] == [(3, "None")]
    assert statistics(cloudwatch, metric, Dimensions=host[:1]) == []


def test_high_resolution(cloudwatch, metric):
    start = (int(time.time()) - 100) // 5 * 5
    put(cloudwatch, metric, range(10), start=start, step=1, StorageResolution=1)
    assert [p["Sum"] for p in statistics(cloudwatch, metric, start=start, end=start + 10, period=1, names=["Sum"])] == list(range(10))
    assert [p["Sum"] for p in statistics(cloudwatch, metric, start=start, end=start + 10, period=5, names=["Sum"])] == [10, 35]


def test_metric_math(cloudwatch, metric):
    put(cloudwatch, metric + "-a", [10, 20, 40])
    put(cloudwatch, metric + "-b", [1, 2])
    hidden = [stat("errors", metric + "-b", ReturnData=False), stat("calls", metric + "-a", ReturnData=False)]
    expected = {"100 * errors / calls": [10, 10], "SUM(METRICS())": [11, 22, 40], "FILL(errors, 0)": [1, 2] + [0] * 58, "RATE(calls)": [10 / 60, 20 / 60],
                "IF(calls > 15, calls, 0)": [0, 20, 40], "errors + e0": [3, 4]}
    for expression, values in expected.items():
        answer = data(cloudwatch, {"Id": "e1", "Expression": expression, "Label": "what"}, *hidden, {"Id": "e0", "Expression": "errors * 0 + 2", "ReturnData": False})
        [result] = answer["MetricDataResults"]
        assert (result["Id"], result["Label"]) == ("e1", "what") and result["Values"] == pytest.approx(values), expression
    several = data(cloudwatch, *hidden, {"Id": "all", "Expression": 'METRICS("r")'})["MetricDataResults"]
    assert [(r["Id"], r["Label"]) for r in several] == [("all", metric + "-b")]


BAD_QUERIES = {
    "m1 +": "at 5: expected", "SEARCH('{a}', 'Sum')": "SEARCH is not served here", "nothing + 1": "no query with the id nothing", "e1 + 1": "refers to itself",
    "SUM(m1)": "is a number; a time series is needed", "m1 * METRICS(": "expected"}


def test_bad_metric_math(cloudwatch, metric, refused):
    put(cloudwatch, metric, [1])
    for expression, says in BAD_QUERIES.items():
        code, status, message = refused(cloudwatch.get_metric_data, **queries(stat("m1", metric), {"Id": "e1", "Expression": expression}))
        assert (code, status) == ("ValidationError", 400) and says in message, expression


def test_order_and_pages_of_data(cloudwatch, metric, refused):
    put(cloudwatch, metric, range(50))
    queries = [stat("m1", metric), stat("none", metric + "x"), {"Id": "e1", "Expression": "m1 + 100"}]
    arguments = {"MetricDataQueries": queries, "StartTime": at(NOW - 3600), "EndTime": at(NOW)}
    newest_first = cloudwatch.get_metric_data(**arguments)["MetricDataResults"]
    assert newest_first[0]["Values"] == list(range(49, -1, -1)) and newest_first[1]["Values"] == []
    found, token, pages = {}, None, 0
    while pages == 0 or token:
        page = cloudwatch.get_metric_data(**arguments, MaxDatapoints=30, ScanBy="TimestampAscending", **({"NextToken": token} if token else {}))
        token, pages = page.get("NextToken"), pages + 1
        assert sum(len(r["Values"]) for r in page["MetricDataResults"]) <= 30
        for result in page["MetricDataResults"]:
            found.setdefault(result["Id"], []).extend(result["Values"])
        last = page["MetricDataResults"][-1]
        assert last["StatusCode"] == ("PartialData" if token and len(found[last["Id"]]) < 50 else "Complete")
    assert found == {"m1": list(range(50)), "none": [], "e1": list(range(100, 150))} and pages == 4
    assert refused(cloudwatch.get_metric_data, **arguments, NextToken="x")[:2] == ("InvalidNextToken", 400)


def test_list_metrics(cloudwatch, name, refused):
    space = name("Space")
    made = [{"MetricName": f"m{i % 10}", "Dimensions": [{"Name": "Host", "Value": f"h{i:03}"}, {"Name": "Even", "Value": str(i % 2)}], "Value": i} for i in range(600)]
    cloudwatch.put_metric_data(Namespace=space, MetricData=made)
    cloudwatch.put_metric_data(Namespace=space, MetricData=[m | {"Unit": "Count"} for m in made])
    first = cloudwatch.list_metrics(Namespace=space)
    assert len(first["Metrics"]) <= 500 and first["NextToken"]

    def listed(**arguments):
        found = [m for p in cloudwatch.get_paginator("list_metrics").paginate(Namespace=space, **arguments) for m in p["Metrics"]]
        hosts = [next(d["Value"] for d in m["Dimensions"] if d["Name"] == "Host") for m in found]
        assert len(set(hosts)) == len(hosts)
        return sorted(hosts)

    assert listed() == [f"h{i:03}" for i in range(600)]
    assert listed(MetricName="m3") == [f"h{i:03}" for i in range(3, 600, 10)]
    assert listed(Dimensions=[{"Name": "Host", "Value": "h007"}]) == ["h007"]
    assert len(listed(Dimensions=[{"Name": "Host"}, {"Name": "Even", "Value": "1"}])) == 300
    assert len(listed(RecentlyActive="PT3H")) == 600
    assert listed(Dimensions=[{"Name": "Other"}]) == []
    put(cloudwatch, "old", [1], start=NOW - 86400)
    assert cloudwatch.list_metrics(MetricName="old")["Metrics"] and not cloudwatch.list_metrics(MetricName="old", RecentlyActive="PT3H")["Metrics"]
    assert refused(cloudwatch.list_metrics, NextToken="x")[:2] == ("InvalidParameterValue", 400)


def test_compressed_bodies(server, cloudwatch, metric):
    sent = []
    cloudwatch.meta.events.register("before-send.cloudwatch.PutMetricData", lambda request, **_: sent.append(request), unique_id="spy")
    try:
        cloudwatch.put_metric_data(Namespace=SPACE, MetricData=[
            {"MetricName": metric, "Timestamp": at(NOW - 60), "Value": 1, "Dimensions": [{"Name": "a", "Value": "x" * 1000}]} for _ in range(100)])
    finally:
        cloudwatch.meta.events.unregister("before-send.cloudwatch.PutMetricData", unique_id="spy")
    assert sent[0].headers["Content-Encoding"] in (b"gzip", "gzip") and len(sent[0].body) < 10_000
    [point] = statistics(cloudwatch, metric, names=["SampleCount"], Dimensions=[{"Name": "a", "Value": "x" * 1000}])
    assert point["SampleCount"] == 100


DATUM = {"MetricName": "m", "Value": 1.0}
RANGE = {"StartTime": at(NOW - 600), "EndTime": at(NOW)}
ONE = {"Namespace": SPACE, "MetricName": "m", "Period": 60} | RANGE


def datum(**more):
    return {"Namespace": SPACE, "MetricData": [{k: v for k, v in (DATUM | more).items() if v is not None}]}


def queries(*list):
    return RANGE | {"MetricDataQueries": list}


BAD = [
    ("put_metric_data", datum(Value=None), "MissingParameter", "One of MetricData.member.1.Value"),
    ("put_metric_data", {"Namespace": SPACE}, "MissingParameter", "MetricData is required"),
    ("put_metric_data", datum(Values=[1.0]), "InvalidParameterCombination", "mutually exclusive"),
    ("put_metric_data", datum(Value=float("nan")), "InvalidParameterValue", "nan"),
    ("put_metric_data", datum(Value=1e300), "InvalidParameterValue", "1e+300"),
    ("put_metric_data", datum(Value=None, Values=[1.0, 2.0], Counts=[1.0]), "InvalidParameterValue", "same size"),
    ("put_metric_data", datum(Value=None, Values=[1.0], Counts=[0.0]), "InvalidParameterValue", "count 0"),
    ("put_metric_data", datum(Value=None, Values=[1.0] * 151), "InvalidParameterValue", "1 to 150"),
    ("put_metric_data", datum(Value=None, StatisticValues={"SampleCount": 0.0, "Sum": 1.0, "Minimum": 1.0, "Maximum": 1.0}), "InvalidParameterValue", "SampleCount"),
    ("put_metric_data", datum(Value=None, StatisticValues={"SampleCount": 1.0, "Sum": 1.0, "Minimum": 2.0, "Maximum": 1.0}), "InvalidParameterValue", "Maximum"),
    ("put_metric_data", datum(Timestamp=at(NOW - 15 * 86400)), "InvalidParameterValue", "two weeks in the past"),
    ("put_metric_data", datum(Timestamp=at(NOW + 3 * 3600)), "InvalidParameterValue", "next two hours"),
    ("put_metric_data", datum(StorageResolution=7), "InvalidParameterValue", "1 or 60"),
    ("put_metric_data", datum(Dimensions=[{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]), "InvalidParameterValue", "given twice"),
    ("put_metric_data", datum(Dimensions=[{"Name": "a", "Value": "x\ny"}]), "InvalidParameterValue", "control characters"),
    ("put_metric_data", datum(MetricName="x" * 256), "ValidationError", "less than or equal to 255"),
    ("put_metric_data", datum(Unit="Parsec"), "ValidationError", "enum value set"),
    ("put_metric_data", {"Namespace": SPACE, "MetricData": [DATUM] * 1001}, "InvalidParameterValue", "greater than 1000"),
    ("put_metric_data", {"Namespace": "AWS/SageMaker", "MetricData": [DATUM]}, "InvalidParameterValue", "AWS/"),
    ("put_metric_data", {"Namespace": ":x", "MetricData": [DATUM]}, "ValidationError", "at 'namespace'"),
    ("get_metric_statistics", ONE, "MissingParameter", "At least one"),
    ("get_metric_statistics", ONE | {"Statistics": ["Sum"], "Period": 61}, "InvalidParameterValue", "multiple of 60"),
    ("get_metric_statistics", ONE | {"Statistics": ["Sum"], "EndTime": at(NOW - 600)}, "InvalidParameterValue", "StartTime must be less"),
    ("get_metric_statistics", ONE | {"Statistics": ["Sum"], "StartTime": at(NOW - 86400 * 2)}, "InvalidParameterCombination", "exceeds the limit of 1440"),
    ("get_metric_statistics", ONE | {"Statistics": ["Median"]}, "ValidationError", "enum value set"),
    ("get_metric_statistics", ONE | {"ExtendedStatistics": ["p101"]}, "InvalidParameterValue", "p101"),
    ("get_metric_data", queries(), "ValidationError", "MetricDataQueries"),
    ("get_metric_data", queries({"Id": "m1"}), "ValidationError", "either a MetricStat or an Expression"),
    ("get_metric_data", queries(stat("M1", "m")), "ValidationError", "expected pattern"),
    ("get_metric_data", queries(stat("m1", "m"), stat("m1", "m")), "ValidationError", "not unique"),
    ("get_metric_data", queries(stat("m1", "m", ReturnData=False)), "ValidationError", "ReturnData"),
    ("get_metric_data", queries(stat("m1", "m", "Median")), "InvalidParameterValue", "Median"),
    ("get_metric_data", queries(stat("m1", "m", period=7)), "InvalidParameterValue", "multiple of 60"),
    ("get_metric_data", queries(stat("m1", "m")) | {"MaxDatapoints": 0}, "ValidationError", "MaxDatapoints"),
    ("get_metric_data", queries(*[stat(f"m{i}", "m", period=60) for i in range(100)],
                                *[{"Id": f"e{i}", "Expression": "FILL(METRICS(), 0)"} for i in range(100)]) | {"StartTime": at(NOW - 10_000)},
     "ValidationError", "datapoints, which exceeds the limit"),
    ("get_metric_data", queries(*[stat(f"m{i}", "m", period=1) for i in range(200)]) | {"StartTime": at(NOW - 10_000)}, "ValidationError", "exceeds the limit"),
    ("put_metric_alarm", {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}, "UnsupportedOperation", "cloudwatch:PutMetricAlarm"),
    ("describe_alarms", {}, "UnsupportedOperation", "cloudwatch:DescribeAlarms"),
    ("delete_alarms", {"AlarmNames": ["a"]}, "UnsupportedOperation", "cloudwatch:DeleteAlarms"),
    ("put_dashboard", {"DashboardName": "a", "DashboardBody": "{}"}, "UnsupportedOperation", "cloudwatch:PutDashboard"),
]


@pytest.fixture(scope="module", params=["json", "query"])
def unchecked(request, server, tmp_path_factory):
    return client_of(server, request.param, tmp_path_factory, config=Config(parameter_validation=False))


@pytest.mark.parametrize("call, arguments, code, says", BAD, ids=[f"{b[0]}-{i}" for i, b in enumerate(BAD)])
def test_bad_input(unchecked, refused, call, arguments, code, says):
    got, status, message = refused(getattr(unchecked, call), **arguments)
    assert (got, status) == (code, 400) and says in message


def signed(server, headers, body):
    request = botocore.awsrequest.AWSRequest("POST", server.url + "/", data=body, headers=headers)
    botocore.auth.SigV4Auth(botocore.credentials.Credentials(server.access_key, server.secret), "monitoring", "us-east-1").add_auth(request)
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + "/", data=body, headers=dict(request.headers), method="POST")) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_errors_in_query_mode(server):
    """JSON's code is the shape's name; the header has the code that the query protocol had."""
    headers = {"X-Amz-Target": "GraniteServiceVersion20100801.GetMetricStatistics", "Content-Type": "application/x-amz-json-1.0", "x-amzn-query-mode": "true"}
    body = {"Namespace": "a", "MetricName": "m", "StartTime": NOW - 60, "EndTime": NOW, "Period": 61, "Statistics": ["Sum"]}
    status, answered, text = signed(server, headers, json.dumps(body).encode())
    assert status == 400 and json.loads(text)["__type"] == "InvalidParameterValueException"
    assert answered["x-amzn-query-error"] == "InvalidParameterValue;Sender" and answered["Content-Type"] == "application/x-amz-json-1.0"


def test_cbor_is_refused(server):
    status, _, text = signed(server, {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}, b"\xbf\xff")
    assert status == 400
    assert json.loads(text)["__type"] == "UnsupportedOperation" and "rpc-v2-cbor" in json.loads(text)["message"]


def test_broken_bodies(server):
    target = {"X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData", "Content-Type": "application/x-amz-json-1.0"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, body in [(target, b"{"), (target, b'{"Namespace": 5}'), (target | {"Content-Encoding": "gzip"}, b"no gzip"), (target, b'{"Namespace": "\xff"}'),
                          (form, b"Action=PutMetricData&Version=2010-08-01&MetricData.member.1.Value=x"), (form, b"Action=Nothing&Version=2010-08-01")]:
        status, _, text = signed(server, headers, body)
        assert status == 400 and text, body


def test_our_own_metrics(server, cloudwatch):
    """Prometheus' text: every sample belongs to a family that was announced."""
    cloudwatch.list_metrics()
    with urllib.request.urlopen(server.url + "/_textmill/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = answer.read().decode().splitlines()
    kinds = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    samples = [line for line in lines if line and not line.startswith("#")]
    for line in samples:
        family, value = line.split("{")[0].split(" ")[0], line.rsplit(" ", 1)[1]
        float(value)
        assert family in kinds or kinds.get(family.rsplit("_", 1)[0]) == "histogram", line
    assert any('operation="ListMetrics",service="cloudwatch"' in line for line in samples)


def test_the_command_line(aws, name):
    """Version 2 speaks the query protocol, version 1 JSON."""
    metric = name("cli")
    aws("cloudwatch", "put-metric-data", "--namespace", SPACE, "--metric-name", metric, "--value", "4", "--unit", "Count", "--timestamp", at(NOW - 120).isoformat())
    aws("cloudwatch", "put-metric-data", "--namespace", SPACE, "--metric-name", metric, "--value", "8", "--unit", "Count", "--timestamp", at(NOW - 60).isoformat())
    listed = aws("cloudwatch", "list-metrics", "--namespace", SPACE, "--metric-name", metric)["Metrics"]
    assert listed == [{"Namespace": SPACE, "MetricName": metric, "Dimensions": []}]
    span = ["--start-time", at(NOW - 600).isoformat(), "--end-time", at(NOW).isoformat()]
    points = aws("cloudwatch", "get-metric-statistics", "--namespace", SPACE, "--metric-name", metric, *span, "--period", "60", "--statistics", "Sum")["Datapoints"]
    assert [p["Sum"] for p in points] == [4, 8]
    results = aws("cloudwatch", "get-metric-data", *span, "--metric-data-queries", json.dumps([stat("m1", metric, ReturnData=False), {"Id": "e1", "Expression": "m1 / 4"}]))
    assert results["MetricDataResults"][0]["Values"] == [2, 1]
    assert "(UnsupportedOperation)" in aws("cloudwatch", "describe-alarms", fails=True)


def test_a_refused_value_beside_dimensions(unchecked, metric, refused):
    """What a diverging training sends: the server says no, and goes on."""
    datum = {"MetricName": "loss", "Dimensions": [{"Name": "d", "Value": "1"}]}
    for value in ({"Value": float("nan")}, {"Value": float("inf")}, {}, {"Value": 1, "Values": [1]}):
        assert refused(unchecked.put_metric_data, Namespace="N", MetricData=[datum | value])[1] == 400
    assert unchecked.list_metrics(Namespace="N")["Metrics"] == []
