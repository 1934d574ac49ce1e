"""`aws s3` as people type it, both versions: cp, sync, ls, rm, presign."""

import random
import urllib.request


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folders_there_and_back(aws, server, name, tmp_path):
    bucket, source, target = name("cli"), tmp_path / "source", tmp_path / "target"
    noise = random.Random(1)
    for path, size in {"a.txt": 10, "deep/b c.bin": 100_000, "deep/er/é+&.txt": 1, "large.bin": 9 << 20, "empty": 0}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(noise.randbytes(size))
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3", "cp", "--recursive", source, f"s3://{bucket}/tree")
    listed = aws("s3", "ls", "--recursive", f"s3://{bucket}/tree/")
    assert sorted(line.split(None, 3)[3] for line in listed.splitlines()) == sorted(f"tree/{p}" for p in tree(source))
    assert "PRE deep/" in aws("s3", "ls", f"s3://{bucket}/tree/")
    aws("s3", "cp", "--recursive", f"s3://{bucket}/tree", target)
    assert tree(target) == tree(source)

    assert aws("s3", "sync", source, f"s3://{bucket}/tree") == ""  # nothing has changed
    (source / "a.txt").write_bytes(b"another length")
    (source / "empty").unlink()
    said = aws("s3", "sync", "--delete", source, f"s3://{bucket}/tree")
    assert "a.txt" in said and "delete: " in said and "large.bin" not in said
    aws("s3", "sync", "--delete", f"s3://{bucket}/tree", target)
    assert tree(target) == tree(source)
    aws("s3", "cp", f"s3://{bucket}/tree/large.bin", f"s3://{bucket}/copy.bin")
    aws("s3", "mv", f"s3://{bucket}/copy.bin", f"s3://{bucket}/moved.bin")

    url = aws("s3", "presign", f"s3://{bucket}/moved.bin", "--expires-in", 60).strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == (source / "large.bin").read_bytes()

    aws("s3", "rm", f"s3://{bucket}/moved.bin")
    aws("s3", "rm", "--recursive", f"s3://{bucket}/tree")
    assert aws("s3", "ls", f"s3://{bucket}") == ""
    assert "404" in aws("s3", "cp", f"s3://{bucket}/nothing", target, fails=True)
    assert "NoSuchBucket" in aws("s3", "ls", "s3://no-such-bucket-here", fails=True)
    aws("s3", "rb", f"s3://{bucket}")
