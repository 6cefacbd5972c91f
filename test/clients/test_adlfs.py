"""adlfs (fsspec's Azure file system), as dask and pandas use it."""

import random
import urllib.request

import adlfs
import pytest

from conftest import ACCOUNT


@pytest.fixture
def fs(server, name):
    fs = adlfs.AzureBlobFileSystem(account_name=ACCOUNT, connection_string=server.connection, skip_instance_cache=True)
    fs.mkdir(name)
    return fs


def test_files(fs, name):
    fs.pipe({f"{name}/a/{i}.txt": f"file {i}".encode() for i in range(5)})
    assert fs.ls(f"{name}/a", detail=False) == [f"{name}/a/{i}.txt" for i in range(5)]
    assert fs.glob(f"{name}/*/[12].txt") == [f"{name}/a/1.txt", f"{name}/a/2.txt"]
    assert fs.du(name) == 30 and fs.isdir(f"{name}/a") and fs.isfile(f"{name}/a/1.txt")
    assert fs.cat_file(f"{name}/a/3.txt", start=5) == b"3" and fs.cat_file(f"{name}/a/3.txt", 1, 3) == b"il"
    fs.cp_file(f"{name}/a/3.txt", f"{name}/b/copy.txt")
    fs.mv(f"{name}/a/4.txt", f"{name}/b/moved.txt")
    assert sorted(fs.find(name)) == [f"{name}/a/{i}.txt" for i in range(4)] + [f"{name}/b/copy.txt", f"{name}/b/moved.txt"]
    assert urllib.request.urlopen(fs.url(f"{name}/b/moved.txt")).read() == b"file 4"
    fs.rm(f"{name}/a", recursive=True)
    assert fs.find(name) == [f"{name}/b/copy.txt", f"{name}/b/moved.txt"]
    with pytest.raises(FileNotFoundError):
        fs.cat(f"{name}/a/1.txt")
    fs.rm(name, recursive=True)
    assert not fs.exists(name)


def test_a_file_in_blocks(fs, name, tmp_path):
    data = random.Random(1).randbytes(20 << 20)
    with fs.open(f"{name}/big", "wb", blocksize=4 << 20, metadata={"colour": "blue"}) as f:
        for i in range(0, len(data), 3 << 20):
            f.write(data[i:i + (3 << 20)])
    info = fs.info(f"{name}/big")
    assert (info["size"], info["metadata"]["colour"]) == (len(data), "blue")
    with fs.open(f"{name}/big", block_size=1 << 20) as f:
        f.seek(-1000, 2)
        assert f.read() == data[-1000:]
    fs.get(f"{name}/big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == data


def test_exclusive_and_append(fs, name):
    with fs.open(f"{name}/x", "xb") as f:
        f.write(b"first")
    with pytest.raises(FileExistsError):
        with fs.open(f"{name}/x", "xb") as f:
            f.write(b"second")
    assert fs.cat(f"{name}/x") == b"first"
    for line in (b"one,", b"two"):
        with fs.open(f"{name}/log", "ab") as f:
            f.write(line)
    assert fs.cat(f"{name}/log") == b"one,two"
