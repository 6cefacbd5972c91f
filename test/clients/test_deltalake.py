"""deltalake (delta-rs): commits that nobody may overwrite, vacuum by bulk delete."""

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from conftest import ACCOUNT, KEY


def rows(first, n):
    return pa.table({"part": [i % 3 for i in range(first, first + n)], "n": list(range(first, first + n))})


def numbers(table):
    return sorted(table.to_pyarrow_table()["n"].to_pylist())


@pytest.fixture
def options(server):
    return {"azure_storage_account_name": ACCOUNT, "azure_storage_account_key": KEY, "azure_storage_endpoint": server.blob, "allow_http": "true"}


def test_a_table(container, options):
    url = f"az://{container}/a/table"
    for i in range(12):  # a checkpoint is written on the way
        write_deltalake(url, rows(i * 10, 10), mode="append", partition_by=["part"], storage_options=options)
    table = DeltaTable(url, storage_options=options)
    assert table.version() == 11 and numbers(table) == list(range(120))
    assert numbers(DeltaTable(url, version=4, storage_options=options)) == list(range(50))
    table.delete("n >= 100")
    (table.merge(rows(95, 10), "old.n = new.n", source_alias="new", target_alias="old").when_matched_delete().when_not_matched_insert_all().execute())
    assert numbers(table) == list(range(95)) + list(range(100, 105))
    assert table.optimize.compact()["numFilesRemoved"] >= 30
    table.create_checkpoint()
    removed = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(removed) >= 30
    assert numbers(DeltaTable(url, storage_options=options)) == list(range(95)) + list(range(100, 105))


def test_of_two_writers_one_wins(container, options):
    url = f"az://{container}/table"
    write_deltalake(url, rows(0, 30), storage_options=options)
    one, two = DeltaTable(url, storage_options=options), DeltaTable(url, storage_options=options)
    one.delete("n < 10")
    with pytest.raises(CommitFailedError):
        two.delete("n >= 20")
    assert numbers(DeltaTable(url, storage_options=options)) == list(range(10, 30))
