"""duckdb with its azure extension."""

import pathlib

import duckdb
import duckdb_extension_azure
import pytest


@pytest.fixture
def db(server):
    file = next(pathlib.Path(duckdb_extension_azure.__file__).parent.glob("extensions/*/azure.duckdb_extension"))
    db = duckdb.connect()
    db.execute(f"LOAD '{file}'")
    db.execute(f"CREATE SECRET (TYPE azure, CONNECTION_STRING '{server.connection}')")
    return db


def test_read_and_write(db, container):
    db.execute(f"COPY (SELECT i % 5 AS g, i AS n FROM range(300000) t(i)) TO 'az://{container}/one.parquet' (FORMAT parquet)")
    assert db.execute(f"SELECT count(*), sum(n) FROM 'az://{container}/one.parquet' WHERE n >= 299000").fetchone() == (1000, sum(range(299000, 300000)))
    for i in range(3):
        db.execute(f"COPY (SELECT * FROM range({i * 10}, {i * 10 + 10}) t(n)) TO 'az://{container}/dir/{i}/part.csv' (FORMAT csv, HEADER)")
    assert db.execute(f"SELECT count(*), max(n) FROM read_csv('az://{container}/dir/*/part.csv')").fetchone() == (30, 29)
    assert [r[0].split("/", 3)[3] for r in db.execute(f"SELECT * FROM glob('az://{container}/dir/**') ORDER BY 1").fetchall()] == [f"dir/{i}/part.csv" for i in range(3)]
    with pytest.raises(duckdb.Error, match="No files found"):
        db.execute(f"SELECT * FROM read_csv('az://{container}/none/*.csv')")
