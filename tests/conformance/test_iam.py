"""STS and IAM: who one is, sessions that expire, and what tutorials create on their way."""

import datetime
import json

import pytest

ACCOUNT = "123456789012"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})


@pytest.fixture(scope="module")
def iam(server):
    return server.client("iam")


def test_who_one_is(aws):
    me = aws("sts", "get-caller-identity")
    assert me["Account"] == ACCOUNT and me["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/textmill-admin/root"


def test_the_command_line_reports_errors(aws):
    assert "(NoSuchEntity)" in aws("iam", "delete-role", "--role-name", "nobody", fails=True)
