"""polars: data frames written to and scanned from blobs."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from conftest import ACCOUNT, KEY


@pytest.fixture
def options(server):
    return {"azure_storage_account_name": ACCOUNT, "azure_storage_account_key": KEY, "azure_storage_endpoint": server.blob, "allow_http": "true"}


def test_parquet_and_csv(container, options):
    df = pl.DataFrame({"g": [i % 4 for i in range(100_000)], "n": range(100_000)})
    df.write_parquet(f"az://{container}/one.parquet", storage_options=options, row_group_size=10_000)
    assert_frame_equal(pl.read_parquet(f"az://{container}/one.parquet", storage_options=options), df)
    part = pl.scan_parquet(f"az://{container}/one.parquet", storage_options=options).filter(pl.col("n") >= 99_990).select("n").collect()
    assert part["n"].to_list() == list(range(99_990, 100_000))
    df.lazy().sink_csv(f"az://{container}/csv/one.csv", storage_options=options)
    df.lazy().sink_csv(f"az://{container}/csv/two.csv", storage_options=options)
    assert pl.scan_csv(f"az://{container}/csv/*.csv", storage_options=options).select(pl.len()).collect().item() == 200_000


def test_partitions(container, options):
    df = pl.DataFrame({"g": [i % 4 for i in range(1000)], "n": range(1000)})
    df.lazy().sink_parquet(pl.PartitionBy(f"az://{container}/set/", key="g"), storage_options=options)
    back = pl.scan_parquet(f"az://{container}/set/", storage_options=options, hive_partitioning=True)
    assert back.filter(pl.col("g") == 3).select(pl.col("n").sum()).collect().item() == sum(range(3, 1000, 4))
    with pytest.raises(Exception, match="expanded paths were empty|no such|404|not found"):
        pl.read_parquet(f"az://{container}/none/*.parquet", storage_options=options)


def test_delta(container, options):
    df = pl.DataFrame({"n": range(100)})
    for mode in ("error", "append", "append"):
        df.write_delta(f"az://{container}/delta", mode=mode, storage_options=options)
    assert pl.scan_delta(f"az://{container}/delta", storage_options=options).select(pl.len()).collect().item() == 300
