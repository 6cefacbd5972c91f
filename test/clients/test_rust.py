"""Rust: object_store and azure_storage_blob; the tests themselves are in rust/tests."""

import datetime
import os
import pathlib
import re
import subprocess

import pytest
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from conftest import ACCOUNT, KEY


@pytest.mark.parametrize("crate", ["object_store", "azure_storage_blob"])
def test_rust(server, container, crate):
    now = datetime.datetime.now(datetime.timezone.utc)
    sas = generate_account_sas(ACCOUNT, KEY, ResourceTypes.from_string("sco"), AccountSasPermissions.from_string("rwdlacuptf"), now + datetime.timedelta(hours=1))
    done = subprocess.run([os.environ.get("CARGO", "cargo"), "test", "--locked", "--test", crate], cwd=pathlib.Path(__file__).parent / "rust",
                          env={**server.told(), "BLOBD_CONTAINER": container, "BLOBD_SAS": sas}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0
    assert re.search(r"test result: ok\. [1-9]\d* passed; 0 failed; 0 ignored", done.stdout)
