"""What `deploy/` holds is what TensorFlow Serving reads."""

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from nerveceg_tf.export.export import ExportConfig

DEPLOY = Path(__file__).parents[1] / "deploy"


def test_models_config_names_the_model_as_export_does():
    config = ModelServerConfig()
    text_format.Parse((DEPLOY / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert model.name == ExportConfig.name
    assert model.model_platform == "tensorflow"
    compose = (DEPLOY / "compose.yaml").read_text()
    assert f":{model.base_path}:ro" in compose
    for file in ("models.config", "batching.config"):
        assert f"./{file}:/config/{file}:ro" in compose
        assert f"=/config/{file}" in compose
