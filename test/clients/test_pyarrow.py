"""pyarrow's own AzureFileSystem (the C++ SDK), with Parquet data sets on it."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pytest

from conftest import ACCOUNT, KEY


@pytest.fixture
def fs(server, name):
    host = f"127.0.0.1:{server.port}"
    fs = pyarrow.fs.AzureFileSystem(ACCOUNT, account_key=KEY, blob_storage_authority=host, blob_storage_scheme="http",
                                    dfs_storage_authority=host, dfs_storage_scheme="http")
    fs.create_dir(name)
    return fs


def test_files(fs, name):
    fs.create_dir(f"{name}/a/empty")
    with fs.open_output_stream(f"{name}/a/file", metadata={"Content-Type": "text/x"}) as f:
        for _ in range(5):
            f.write(bytes(5 << 20))
    assert fs.open_input_file(f"{name}/a/file").metadata()["Content-Type"] == b"text/x"
    with fs.open_append_stream(f"{name}/a/file") as f:
        f.write(b"the end")
    fs.copy_file(f"{name}/a/file", f"{name}/a/copy")
    with fs.open_input_file(f"{name}/a/copy") as f:
        assert f.size() == (25 << 20) + 7
        assert f.read_at(7, 25 << 20) == b"the end"
    found = fs.get_file_info(pyarrow.fs.FileSelector(name, recursive=True))
    assert sorted((i.base_name, i.type.name) for i in found) == [("a", "Directory"), ("copy", "File"), ("empty", "Directory"), ("file", "File")]
    fs.delete_file(f"{name}/a/copy")
    assert fs.get_file_info(f"{name}/a/copy").type == pyarrow.fs.FileType.NotFound
    with pytest.raises(FileNotFoundError):
        fs.open_input_file(f"{name}/a/copy")
    fs.delete_dir(f"{name}/a")
    assert fs.get_file_info(pyarrow.fs.FileSelector(name, recursive=True)) == []
    fs.delete_dir(name)


def test_a_data_set(fs, name):
    table = pa.table({"part": [i % 260 for i in range(2600)], "n": list(range(2600))})
    ds.write_dataset(table, f"{name}/set", filesystem=fs, format="parquet", partitioning=["part"], partitioning_flavor="hive", max_partitions=260)
    back = ds.dataset(f"{name}/set", filesystem=fs, partitioning="hive")
    assert sum(back.to_table(filter=ds.field("part") == 7)["n"].to_pylist()) == sum(range(7, 2600, 260))
    fs.delete_dir_contents(f"{name}/set")
    assert fs.get_file_info(pyarrow.fs.FileSelector(f"{name}/set", allow_not_found=True)) == []
