"""dvc: push, pull and collect the garbage of a remote in a container."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def dvc(server, container, tmp_path):
    def run(*args):
        env = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "HOME": str(tmp_path)}
        done = subprocess.run([sys.executable, "-m", "dvc", *args], cwd=tmp_path / "repo", env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "repo").mkdir()
    run("init", "--no-scm", "-q")
    run("remote", "add", "-q", "-d", "there", f"azure://{container}/cache")
    run("remote", "modify", "-q", "there", "connection_string", server.connection)
    return run


def test_push_and_pull(dvc, tmp_path):
    repo = tmp_path / "repo"
    (repo / "data").mkdir()
    for i in range(30):
        (repo / "data" / f"{i}.txt").write_text(f"version one of {i}")
    (repo / "data" / "big").write_bytes(bytes(20 << 20))
    dvc("add", "-q", "data")
    assert "32 files pushed" in dvc("push")
    shutil.rmtree(repo / "data")
    shutil.rmtree(repo / ".dvc" / "cache")
    dvc("pull")
    assert (repo / "data" / "7.txt").read_text() == "version one of 7" and (repo / "data" / "big").stat().st_size == 20 << 20

    (repo / "data" / "7.txt").write_text("version two of 7")
    dvc("add", "-q", "data")
    dvc("push")
    dvc("gc", "-w", "-c", "-f")
    assert "Cache and remote 'there' are in sync" in dvc("status", "-c")
