"""STS and IAM: who one is, sessions that expire, and what tutorials create on their way."""

import datetime
import json

import pytest
from botocore.config import Config

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


def test_a_role_as_tutorials_make_it(iam, name, refused):
    role, policy = name("Role"), name("Policy")
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST, Description="d", Tags=[{"Key": "a", "Value": "1"}])["Role"]
    assert (made["Arn"], made["Tags"], made["AssumeRolePolicyDocument"]) == (arn, [{"Key": "a", "Value": "1"}], json.loads(TRUST))
    assert refused(iam.create_role, RoleName=role, AssumeRolePolicyDocument=TRUST) == ("EntityAlreadyExists", 409, f"Role with name {role} already exists.")
    iam.attach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"][0]["PolicyName"] == "AmazonSageMakerFullAccess"
    iam.put_role_policy(RoleName=role, PolicyName="inline", PolicyDocument=POLICY)
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["inline"]
    assert iam.get_role_policy(RoleName=role, PolicyName="inline")["PolicyDocument"] == json.loads(POLICY)

    made = iam.create_policy(PolicyName=policy, PolicyDocument=POLICY)["Policy"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:policy/{policy}"
    assert iam.get_policy(PolicyArn=made["Arn"])["Policy"] == made
    assert iam.get_policy_version(PolicyArn=made["Arn"], VersionId="v1")["PolicyVersion"]["Document"] == json.loads(POLICY)
    assert refused(iam.get_policy_version, PolicyArn=made["Arn"], VersionId="v2")[:2] == ("NoSuchEntity", 404)
    assert policy in [p["PolicyName"] for p in iam.list_policies(Scope="Local")["Policies"]]
    assert iam.list_policies(Scope="AWS")["Policies"] == []

    other = TRUST.replace("sagemaker", "lambda")
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=other)
    iam.update_role(RoleName=role, Description="e", MaxSessionDuration=7200)
    iam.tag_role(RoleName=role, Tags=[{"Key": "b", "Value": "2"}])
    iam.untag_role(RoleName=role, TagKeys=["a"])
    assert iam.list_role_tags(RoleName=role)["Tags"] == [{"Key": "b", "Value": "2"}]
    shown = iam.get_role(RoleName=role)["Role"]
    assert (shown["AssumeRolePolicyDocument"], shown["Description"], shown["MaxSessionDuration"]) == (json.loads(other), "e", 7200)

    assert refused(iam.delete_role, RoleName=role)[:2] == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
    iam.delete_role_policy(RoleName=role, PolicyName="inline")
    iam.delete_role(RoleName=role)
    iam.delete_policy(PolicyArn=made["Arn"])
    assert refused(iam.get_policy, PolicyArn=made["Arn"])[:2] == ("NoSuchEntity", 404)
    assert refused(iam.delete_role, RoleName=role) == ("NoSuchEntity", 404, f"The role with name {role} cannot be found.")


def test_paths(iam, name, refused):
    role, policy = name("role"), name("policy")
    made = iam.create_role(RoleName=role, Path="/service-role/", AssumeRolePolicyDocument=TRUST)["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/service-role/{role}" == iam.get_role(RoleName=role)["Role"]["Arn"]
    assert [r["RoleName"] for r in iam.list_roles(PathPrefix="/service-role/")["Roles"]] == [role]
    assert iam.list_roles(PathPrefix="/nope/")["Roles"] == []
    made = iam.create_policy(PolicyName=policy, Path="/p/", PolicyDocument=POLICY)["Policy"]
    assert (made["Arn"], made["Path"]) == (f"arn:aws:iam::{ACCOUNT}:policy/p/{policy}", "/p/") and iam.get_policy(PolicyArn=made["Arn"])["Policy"] == made
    managed = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    code, status, message = refused(iam.get_policy, PolicyArn=managed)
    assert (code, status) == ("NoSuchEntity", 404) and managed in message
    iam.delete_role(RoleName=role)
    iam.delete_policy(PolicyArn=made["Arn"])


def test_lists_of_roles(iam, name):
    made = sorted(name("listed") for _ in range(12))
    for role in made:
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
    pages = list(iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 5}))
    listed = [r["RoleName"] for p in pages for r in p["Roles"]]
    assert len(pages) > 2 and [r for r in listed if r.startswith("listed-")] == made and len(set(listed)) == len(listed)


def test_names_of_any_case(iam, name, refused):
    """Names that differ in case alone are one; the ARN has it as it was given."""
    role = name("MyRole")
    made = iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)["Role"]
    assert refused(iam.create_role, RoleName=role.lower(), AssumeRolePolicyDocument=TRUST)[:2] == ("EntityAlreadyExists", 409)
    found = iam.get_role(RoleName=role.upper())["Role"]
    assert (found["RoleName"], found["Arn"], found["RoleId"]) == (role, f"arn:aws:iam::{ACCOUNT}:role/{role}", made["RoleId"])
    policy = name("MyPolicy")
    arn = iam.create_policy(PolicyName=policy, PolicyDocument=TRUST)["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/{policy}"
    assert refused(iam.create_policy, PolicyName=policy.upper(), PolicyDocument=TRUST)[:2] == ("EntityAlreadyExists", 409)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName=role.upper())
    iam.create_role(RoleName=role.lower(), AssumeRolePolicyDocument=TRUST)


def test_roles_that_nobody_made(iam, name, refused):
    """Clients turn names into ARNs by GetRole; tutorials make a role only where GetRole finds none."""
    role, managed = name("Tutorial"), "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
    shown = iam.get_role(RoleName=role)["Role"]
    assert iam.list_role_tags(RoleName=role)["Tags"] == iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    assert refused(iam.detach_role_policy, RoleName=role, PolicyArn=managed)[:2] == ("NoSuchEntity", 404)
    assert role not in [r["RoleName"] for r in iam.list_roles(MaxItems=1000)["Roles"]]
    iam.attach_role_policy(RoleName=role, PolicyArn=managed)
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"][0]["PolicyArn"] == managed
    assert {k: v for k, v in iam.get_role(RoleName=role)["Role"].items() if k != "CreateDate"} == {k: v for k, v in shown.items() if k != "CreateDate"}
    iam.tag_role(RoleName=name("Tagged"), Tags=[{"Key": "a", "Value": "1"}])
    iam.update_role(RoleName=name("Updated"), Description="d")
    assert iam.get_role(RoleName="SageMakerRole")["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole"
    assert iam.create_service_linked_role(AWSServiceName="sagemaker.amazonaws.com")["Role"]["RoleName"] == "AWSServiceRoleForsagemaker"


def test_simulated_policies(iam):
    answer = iam.simulate_principal_policy(PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/R", ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["a", "b"])
    assert [(r["EvalActionName"], r["EvalResourceName"], r["EvalDecision"]) for r in answer["EvaluationResults"]] == [
        (action, resource, "allowed") for action in ("s3:GetObject", "s3:PutObject") for resource in ("a", "b")]


def test_sessions_and_their_end(server, refused):
    sts = server.client("sts")
    before = datetime.datetime.now(datetime.timezone.utc)
    for seconds, answer in [(900, sts.get_session_token(DurationSeconds=900)), (43200, sts.get_session_token()),
                            (3600, sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/R", RoleSessionName="me"))]:
        assert abs((answer["Credentials"]["Expiration"] - before).total_seconds() - seconds) < 60
    user = answer["AssumedRoleUser"]
    assert user["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/R/me" and user["AssumedRoleId"].endswith(":me")
    credentials = answer["Credentials"]
    inside = server.client("sts", (credentials["AccessKeyId"], credentials["SecretAccessKey"]), credentials["SessionToken"])
    assert inside.get_caller_identity()["Arn"] == user["Arn"]
    sts = server.client("sts", config=Config(parameter_validation=False))
    assert refused(sts.assume_role, RoleArn="arn:aws:iam::1:role/R", RoleSessionName="no spaces")[:2] == ("ValidationError", 400)
    assert refused(sts.assume_role, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/R", RoleSessionName="ss", DurationSeconds=60)[:2] == ("ValidationError", 400)
    assert refused(sts.decode_authorization_message, EncodedMessage="x")[:2] == ("UnsupportedOperation", 400)
