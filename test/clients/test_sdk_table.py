"""azure-data-tables against the real binary."""

import datetime
import uuid

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableServiceClient, TableTransactionError, UpdateMode


@pytest.fixture
def table(server, name):
    return TableServiceClient.from_connection_string(server.connection, retry_total=0).create_table(name)


def test_tables(server, table):
    service = TableServiceClient.from_connection_string(server.connection)
    with pytest.raises(ResourceExistsError):
        service.create_table(table.table_name)
    assert [t.name for t in service.query_tables(f"TableName eq '{table.table_name}'")] == [table.table_name]
    service.delete_table(table.table_name)
    assert not list(service.query_tables(f"TableName eq '{table.table_name}'"))


def test_types_round_trip(table):
    entity = {
        "PartitionKey": "p'1", "RowKey": "ä\"1", "text": "日本語", "int": 42, "long": EntityProperty(2**40, EdmType.INT64), "double": 1.5, "nan": float("nan"),
        "inf": float("inf"), "bool": True, "bin": b"\x00\xff", "guid": uuid.UUID(int=5), "when": datetime.datetime(2020, 2, 3, 4, 5, 6, 789000, tzinfo=datetime.timezone.utc),
    }
    table.create_entity(entity)
    with pytest.raises(ResourceExistsError):
        table.create_entity(entity)
    got = table.get_entity("p'1", "ä\"1")
    assert got.pop("nan") != got.get("nan")
    del entity["nan"]
    assert got["long"].value == 2**40
    for k in ("text", "int", "double", "inf", "bool", "bin", "guid", "when"):
        assert got[k] == entity[k], k


def test_update_and_etag(table):
    table.create_entity({"PartitionKey": "p", "RowKey": "r", "a": 1, "b": 2})
    table.update_entity({"PartitionKey": "p", "RowKey": "r", "a": 3}, mode=UpdateMode.MERGE)
    got = table.get_entity("p", "r")
    assert (got["a"], got["b"]) == (3, 2)
    etag = got.metadata["etag"]
    table.update_entity({"PartitionKey": "p", "RowKey": "r", "c": 1}, mode=UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert "a" not in table.get_entity("p", "r")
    with pytest.raises(ResourceModifiedError):
        table.delete_entity("p", "r", etag=etag, match_condition=MatchConditions.IfNotModified)
    table.delete_entity("p", "r")
    with pytest.raises(ResourceNotFoundError):
        table.get_entity("p", "r")
    table.upsert_entity({"PartitionKey": "p", "RowKey": "r", "d": 1})
    assert table.get_entity("p", "r")["d"] == 1


def test_query(table):
    for i in range(0, 2100, 100):
        table.submit_transaction([("create", {"PartitionKey": "p", "RowKey": f"{j:05}", "n": j}) for j in range(i, i + 100)])
    assert len(list(table.list_entities())) == 2100
    assert [e["n"] for e in table.query_entities("n ge @a and n lt @b", parameters={"a": 5, "b": 9})] == [5, 6, 7, 8]
    assert [set(e) for e in table.query_entities("RowKey eq '00007'", select=["n"])] == [{"n"}]


def test_transaction_is_all_or_nothing(table):
    table.create_entity({"PartitionKey": "p", "RowKey": "2"})
    with pytest.raises(TableTransactionError) as e:
        table.submit_transaction([("create", {"PartitionKey": "p", "RowKey": str(i)}) for i in range(4)])
    assert (e.value.index, e.value.error_code) == (2, "EntityAlreadyExists")
    assert [x["RowKey"] for x in table.list_entities()] == ["2"]


def test_bad_filter(table):
    with pytest.raises(HttpResponseError) as e:
        list(table.query_entities("this is not a filter"))
    assert e.value.error_code == "InvalidInput"
