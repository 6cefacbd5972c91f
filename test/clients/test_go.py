"""Go: Thanos' objstore and Dapr's components; the tests themselves are in go."""

import pathlib
import subprocess

import pytest


@pytest.mark.parametrize("client", ["Thanos", "Dapr"])
def test_go(server, client):
    done = subprocess.run(["go", "test", "-count=1", "-v", "-run", client, "."], cwd=pathlib.Path(__file__).parent / "go", env=server.told(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0
    assert f"--- PASS: Test{client}" in done.stdout
