"""Buckets, their settings, and the listings."""

import pytest


@pytest.fixture(scope="module")
def s3(server):
    return server.client("s3")


@pytest.fixture(scope="module")
def filled(s3):
    """A bucket of 250 keys in folders."""
    s3.create_bucket(Bucket="filled")
    keys = sorted(f"{chr(97 + i % 5)}/{i % 10}/{i}" for i in range(249)) + ["zzz"]
    for key in keys:
        s3.put_object(Bucket="filled", Key=key, Body=key.encode())
    return keys


def test_a_life(s3, name, refused):
    bucket = name("life")
    assert refused(s3.head_bucket, Bucket=bucket)[:2] == ("404", 404)
    assert s3.create_bucket(Bucket=bucket)["Location"] == f"/{bucket}"
    s3.create_bucket(Bucket=bucket)  # no error in us-east-1
    assert s3.head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert bucket in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refused(s3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409, "The bucket you tried to delete is not empty")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    assert refused(s3.delete_bucket, Bucket=bucket)[:2] == ("NoSuchBucket", 404)


def test_another_region(s3, name):
    bucket = name("west")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "eu-west-1"


@pytest.mark.parametrize("bad", ["ab", "A-bucket", "under_score", "a" * 64, "-start", "dots..dots", "10.0.0.1", "_textmill", "end-"])
def test_names_that_cannot_be(server, refused, bad):
    from botocore.config import Config

    s3 = server.client("s3", config=Config(parameter_validation=False))
    s3.meta.events.unregister("before-parameter-build.s3", __import__("botocore.handlers").handlers.validate_bucket_name)
    assert refused(s3.create_bucket, Bucket=bad)[:2] == ("InvalidBucketName", 400)


def test_pages_of_buckets(s3, name):
    names = sorted(name("page") for _ in range(5))
    for bucket in names:
        s3.create_bucket(Bucket=bucket)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="page-", PaginationConfig={"PageSize": 2}))
    assert [b["Name"] for page in pages for b in page["Buckets"]] == names
    assert len(pages) == 3


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_every_key_once_in_order(s3, filled, call):
    member = "Versions" if call == "list_object_versions" else "Contents"
    for size in (7, 100, 1000):
        pages = list(s3.get_paginator(call).paginate(Bucket="filled", PaginationConfig={"PageSize": size}))
        assert [entry["Key"] for page in pages for entry in page[member]] == filled
        assert len(pages) == -(-len(filled) // size)
    assert all(page["MaxKeys"] == 1000 for page in pages)


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_delimiters(s3, filled, call):
    member = "Versions" if call == "list_object_versions" else "Contents"
    for size in (1, 2, 1000):
        keys, prefixes = [], []
        for page in s3.get_paginator(call).paginate(Bucket="filled", Delimiter="/", PaginationConfig={"PageSize": size}):
            keys += [entry["Key"] for entry in page.get(member, ())]
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", ())]
        assert (keys, prefixes) == (["zzz"], ["a/", "b/", "c/", "d/", "e/"])
        prefixes = [p["Prefix"] for page in s3.get_paginator(call).paginate(Bucket="filled", Prefix="a/", Delimiter="/", PaginationConfig={"PageSize": size})
                    for p in page["CommonPrefixes"]]
        assert prefixes == sorted({key[:4] for key in filled if key.startswith("a/")})


def test_what_a_page_says(s3, filled, refused):
    page = s3.list_objects_v2(Bucket="filled", MaxKeys=3, StartAfter="b/", Prefix="b", FetchOwner=True)
    assert page["KeyCount"] == 3 and page["IsTruncated"] and page["StartAfter"] == "b/" and page["Prefix"] == "b"
    entry = page["Contents"][0]
    assert entry["Size"] == len(entry["Key"]) and entry["StorageClass"] == "STANDARD" and entry["Owner"]["ID"]
    assert "Owner" not in s3.list_objects_v2(Bucket="filled", MaxKeys=1)["Contents"][0]
    empty = s3.list_objects_v2(Bucket="filled", MaxKeys=0)
    assert empty["KeyCount"] == 0 and not empty["IsTruncated"]
    assert s3.list_objects_v2(Bucket="filled", MaxKeys=5000)["MaxKeys"] == 1000
    version = s3.list_object_versions(Bucket="filled", MaxKeys=1)["Versions"][0]
    assert version["VersionId"] == "null" and version["IsLatest"]
    token = page["NextContinuationToken"]
    assert s3.list_objects_v2(Bucket="filled", ContinuationToken=token)["Contents"][0]["Key"] > entry["Key"]
    assert refused(s3.list_objects_v2, Bucket="filled", ContinuationToken=token[:-2] + "xx")[:2] == ("InvalidArgument", 400)
    assert refused(s3.list_objects_v2, Bucket="filled", MaxKeys=-1)[:2] == ("InvalidArgument", 400)
    assert refused(s3.list_objects_v2, Bucket="filled", EncodingType="base64")[:2] == ("InvalidArgument", 400)


def test_the_resource_interface(server, name):
    import boto3

    s3 = boto3.resource("s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=server.access_key, aws_secret_access_key=server.secret)
    bucket = s3.Bucket(name("resource"))
    assert bucket.creation_date is None
    bucket.create()
    assert bucket.creation_date
    for i in range(5):
        bucket.put_object(Key=f"k/{i}", Body=b"x" * i)
    assert [o.key for o in bucket.objects.filter(Prefix="k/")] == [f"k/{i}" for i in range(5)]
    assert sum(o.size for o in bucket.objects.all()) == 10
    bucket.object_versions.delete()
    bucket.delete()
    assert bucket.creation_date is None


def test_tags(s3, name, refused):
    bucket = name("tags")
    s3.create_bucket(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket)[:2] == ("NoSuchTagSet", 404)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "1"}]
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket)[:2] == ("NoSuchTagSet", 404)


SETTINGS = {
    "bucket_cors": ("CORSConfiguration", {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}, "NoSuchCORSConfiguration"),
    "bucket_encryption": ("ServerSideEncryptionConfiguration", {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]},
                          "ServerSideEncryptionConfigurationNotFoundError"),
    "public_access_block": ("PublicAccessBlockConfiguration", {"BlockPublicAcls": True, "IgnorePublicAcls": True}, "NoSuchPublicAccessBlockConfiguration"),
    "bucket_ownership_controls": ("OwnershipControls", {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}, "OwnershipControlsNotFoundError"),
    "bucket_policy": ("Policy", '{"Version": "2012-10-17", "Statement": []}', "NoSuchBucketPolicy"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_are_remembered(s3, name, refused, setting):
    member, value, missing = SETTINGS[setting]
    bucket = name("settings")
    s3.create_bucket(Bucket=bucket)
    get, put, delete = (getattr(s3, f"{verb}_{setting}") for verb in ("get", "put", "delete"))
    assert refused(get, Bucket=bucket)[:2] == (missing, 404)
    put(Bucket=bucket, **{member: value})
    answer = get(Bucket=bucket)
    assert answer.get(member, answer.get("CORSRules") and {"CORSRules": answer.get("CORSRules")}) == value
    delete(Bucket=bucket)
    assert refused(get, Bucket=bucket)[:2] == (missing, 404)


def test_other_settings(s3, name, refused):
    bucket = name("settings")
    s3.create_bucket(Bucket=bucket)
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})[:2] == ("NotImplemented", 501)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    grant = s3.get_bucket_acl(Bucket=bucket)["Grants"][0]
    assert grant["Permission"] == "FULL_CONTROL" and grant["Grantee"]["Type"] == "CanonicalUser"
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy="nonsense")[:2] == ("MalformedPolicy", 400)
    assert refused(s3.put_bucket_replication, Bucket=bucket, ReplicationConfiguration={"Role": "r", "Rules": []})[:2] == ("UnsupportedOperation", 400)
