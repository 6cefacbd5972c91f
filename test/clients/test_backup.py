"""rclone and restic back a real tree up, restore and check it."""

import filecmp
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ACCOUNT, KEY

BACKUP = "backups"  # restic takes the emulator's account to live on port 10000 only


def same(a, b):
    c = filecmp.dircmp(a, b)
    assert not c.left_only and not c.right_only and not c.funny_files, (c.left_only, c.right_only)
    _, mismatch, errors = filecmp.cmpfiles(a, b, c.common_files, shallow=False)
    assert not mismatch and not errors
    for d in c.common_dirs:
        same(os.path.join(a, d), os.path.join(b, d))


@pytest.fixture
def tree(tmp_path):
    """The project's own sources: a real tree of some hundred files; and one larger file."""
    root = pathlib.Path(__file__).parents[2]
    dst = tmp_path / "tree"
    for part in ("internal", "docs", "cmd"):
        shutil.copytree(root / part, dst / part)
    (dst / "large.bin").write_bytes(os.urandom(40 << 20))
    (dst / "empty").write_bytes(b"")
    return dst


def test_rclone(server, name, tree, tmp_path):
    env = os.environ | {"RCLONE_CONFIG": "/dev/null", "RCLONE_AZUREBLOB_ACCOUNT": ACCOUNT, "RCLONE_AZUREBLOB_KEY": KEY,
                        "RCLONE_AZUREBLOB_ENDPOINT": server.blob}

    def rclone(*args):
        r = subprocess.run([os.environ["RCLONE"], *args], env=env, capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f"rclone {args}\n{r.stderr}"
        return r.stdout

    remote = f":azureblob:{name}"
    rclone("mkdir", remote)
    rclone("sync", str(tree), remote, "--checksum")
    rclone("check", str(tree), remote, "--download")
    rclone("copy", remote, str(tmp_path / "back"))
    same(tree, tmp_path / "back")
    (tree / "empty").unlink()
    rclone("sync", str(tree), remote)
    assert "empty" not in rclone("lsf", remote).split()
    rclone("purge", remote)


def test_restic(azure, name, tree, tmp_path):
    _, led = azure(BACKUP)
    env = os.environ | led | {"AZURE_ACCOUNT_NAME": BACKUP, "AZURE_ACCOUNT_KEY": KEY, "RESTIC_PASSWORD": "secret",
                              "RESTIC_REPOSITORY": f"azure:{name}:/repo", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}

    def restic(*args):
        r = subprocess.run(["restic", *args], env=env, capture_output=True, text=True, timeout=300)
        assert r.returncode == 0, f"restic {args}\n{r.stdout}\n{r.stderr}"

    restic("init")
    restic("backup", str(tree))
    (tree / "empty").write_text("no longer")
    restic("backup", str(tree))
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(tmp_path / "back"))
    same(tree, str(tmp_path / "back") + str(tree))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
