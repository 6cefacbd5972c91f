"""OpenTofu's azurerm backend: state in a blob, locked by a lease."""

import json
import os
import subprocess

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from conftest import KEY

ACCOUNT = "infrastructure"


@pytest.fixture
def tofu(azure, tmp_path, name):
    server, led = azure(ACCOUNT)

    def run(*args, fails=False):
        done = subprocess.run([os.environ["TOFU"], *args, "-no-color"], cwd=tmp_path / "work", env=os.environ | led | {"CHECKPOINT_DISABLE": "1"},
                              capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    run.container = BlobServiceClient(f"https://127.0.0.1:{server.port}/{ACCOUNT}", KEY, connection_verify=led["SSL_CERT_FILE"]).create_container(name)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.tf").write_text(f"""
terraform {{
  backend "azurerm" {{
    storage_account_name = "{ACCOUNT}"
    container_name       = "{name}"
    key                  = "prod.tfstate"
    access_key           = "{KEY}"
  }}
}}
variable "n" {{ default = "1" }}
resource "terraform_data" "thing" {{ input = var.n }}
output "n" {{ value = terraform_data.thing.output }}
""")
    return run


def test_state_and_locks(tofu):
    tofu("init", "-input=false")
    tofu("apply", "-auto-approve", "-input=false")
    state = tofu.container.get_blob_client("prod.tfstate")
    assert json.loads(state.download_blob().readall())["outputs"]["n"]["value"] == "1"
    tofu("apply", "-auto-approve", "-input=false", "-var", "n=2")
    assert json.loads(state.download_blob().readall())["outputs"]["n"]["value"] == "2"
    assert state.get_blob_properties().lease.state == "available"

    lease = state.acquire_lease(60)  # somebody else is at it
    assert "Error acquiring the state lock" in tofu("apply", "-auto-approve", "-input=false", "-var", "n=3", fails=True)
    with pytest.raises(HttpResponseError):
        state.delete_blob()
    lease.release()
    tofu("workspace", "new", "other")
    tofu("apply", "-auto-approve", "-input=false", "-var", "n=4")
    assert "other" in tofu("workspace", "list")
    tofu("destroy", "-auto-approve", "-input=false")
    tofu("workspace", "select", "default")
    tofu("workspace", "delete", "other")
    assert [b.name for b in tofu.container.list_blobs()] == ["prod.tfstate"]
