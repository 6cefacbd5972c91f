"""docs/resource-provider.md, typed as it stands: from nothing to accounts that an unchanged az has made, in both its families of sign-in."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from conftest import ANY_PORT, Server

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "resource-provider.md"


@pytest.fixture(scope="module")
def region(tmp_path_factory):
    home = tmp_path_factory.mktemp("region")
    s = Server(home / "blobd-data", "--tls-self-signed", "--arm-addr", ANY_PORT)
    s.home, s.arm = home, json.loads((home / "ready.json").read_text())["arm"]
    path = os.pathsep.join([str(pathlib.Path(os.environ[v]).parent) for v in ("BLOBD", "AZ")] + [os.environ["PATH"]])
    s.env = os.environ | {"PATH": path, "AZURE_CONFIG_DIR": str(home / "az"), "REQUESTS_CA_BUNDLE": str(s.data / "tls" / "cert.pem")}
    yield s
    s.stop()


def shell(s, text, **env):
    r = subprocess.run(["bash", "-e", "-c", text], cwd=s.home, env=s.env | env, capture_output=True, text=True, timeout=900)
    assert r.returncode == 0, f"{text}\n{r.stdout}\n{r.stderr}"
    return r.stdout


def test_guide(region):
    start, *typed = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    assert "--arm-addr" in start and len(typed) == 4
    out = shell(region, "\n".join(typed))
    assert "annstore" in out and '"nameAvailable": false' in out and "filmstore" in out
    (accounts,) = [json.loads(shell(region, "blobd account list -o json"))["accounts"]]
    assert [a["name"] for a in accounts] == ["annstore"]


def test_service_principal(region):
    app = json.loads(shell(region, "blobd user create robot --app -o json"))
    sub = json.loads(shell(region, "blobd subscription create robots --owner robot -o json"))["subscriptions"][0]
    env = {"AZURE_CONFIG_DIR": str(region.home / "robot"), "ID": app["users"][0]["appId"], "SECRET": app["users"][0]["secret"], "TENANT": app["tenant"], "ARM": region.arm,
           "AZURE_CORE_INSTANCE_DISCOVERY": "false"}
    out = shell(region, """
        az cloud register -n blobd --endpoint-resource-manager "$ARM" >/dev/null
        az cloud set -n blobd
        az login --service-principal -u "$ID" -p "$SECRET" --tenant "$TENANT" >/dev/null
        az group create -n g -l local >/dev/null
        az storage account create -n robotstore -g g --sku Standard_LRS >/dev/null
        az storage account show -n robotstore -g g --query name -o tsv
        az role assignment list --all --query '[].roleDefinitionName' -o tsv
        blob=$(az storage account show -n robotstore -g g --query primaryEndpoints.blob -o tsv)
        blobd role assign robot "Storage Blob Data Contributor" robots >/dev/null
        az storage container create -n con --auth-mode login --blob-endpoint "$blob" -o tsv
    """, **env)
    assert out.split() == ["robotstore", "Owner", "True"]
    # Nothing of the others' is seen.
    assert json.loads(shell(region, "az account list --refresh", **env))[0]["id"] == sub["id"]
    assert json.loads(shell(region, "az storage account list --query '[].name'", **env)) == ["robotstore"]
