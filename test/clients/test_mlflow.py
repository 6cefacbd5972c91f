"""mlflow's artifacts in wasbs://: log, list, load, delete."""

import mlflow
import mlflow.artifacts
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from conftest import ACCOUNT


@pytest.fixture
def repository(server, container, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection)
    monkeypatch.setenv("MLFLOW_ENABLE_MULTIPART_UPLOAD", "true")
    return get_artifact_repository(f"wasbs://{container}@{ACCOUNT}.blob.core.windows.net/runs/1")


def test_artifacts(repository, tmp_path):
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "weights").write_bytes(bytes(9 << 20))
    (tmp_path / "model" / "deep" / "ä.json").write_text("{}")
    repository.log_artifacts(str(tmp_path / "model"), "model")
    repository.log_artifact(str(tmp_path / "model" / "weights"))
    assert [(f.path, f.is_dir, f.file_size) for f in repository.list_artifacts()] == [("model", True, None), ("weights", False, 9 << 20)]
    assert [f.path for f in repository.list_artifacts("model")] == ["model/deep", "model/weights"]
    assert repository.list_artifacts("none") == []
    (tmp_path / "back").mkdir()
    repository.download_artifacts("model", str(tmp_path / "back"))
    assert (tmp_path / "back" / "model" / "weights").stat().st_size == 9 << 20
    assert (tmp_path / "back" / "model" / "deep" / "ä.json").read_text() == "{}"
    repository.delete_artifacts("model")
    assert [f.path for f in repository.list_artifacts()] == ["weights"]
