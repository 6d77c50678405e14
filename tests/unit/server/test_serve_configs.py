"""Which version directories a policy wants."""

from __future__ import annotations

import pytest

from modelpress.server import configs
from modelpress.server.configs import Model, Policy
from modelpress.server.failure import Failure


@pytest.fixture
def base(tmp_path):
    for name in ("1", "00000003", "12", "x", "-4", "1.5", "latest"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file is no version")
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (Policy(), [12]),
        (Policy(latest=2), [3, 12]),
        (Policy("all"), [1, 3, 12]),
        (Policy("specific", specific=(1, 12, 50)), [1, 12]),
    ],
)
def test_versions_are_directories_named_by_a_number(base, policy, versions):
    assert sorted(configs.aspired(Model("m", str(base), policy=policy))) == versions


def test_a_missing_base_path_is_not_an_empty_one(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        configs.aspired(Model("m", str(tmp_path / "nothing")))


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([Model("a", "/a"), Model("a", "/b")], "Illegal to list model a multiple times in config list"),
        ([Model("a", "a")], "Expected model a to have an absolute path or URI; got base_path()=a"),
        ([Model("a", "/a", platform="jax")], "Model a requests unsupported platform jax"),
    ],
)
def test_lists_that_tensorflow_serving_refuses(models, said):
    with pytest.raises(Failure) as caught:
        configs.check(models)
    assert caught.value.message == said


def test_a_platform_cannot_change():
    with pytest.raises(Failure, match=r"Illegal to change a model's platform\. For model a platform was tensorflow"):
        configs.check_platforms([Model("a", "/a")], [Model("a", "/a", platform="other")])


def test_a_file_is_read_or_the_failure_names_it(tmp_path):
    from google.protobuf import struct_pb2

    file = tmp_path / "models.config"
    with pytest.raises(Failure, match=r"models\.config: No such file"):
        configs.read(str(file), struct_pb2.Struct())
    file.write_text("fields { key: ")
    with pytest.raises(Failure, match=r"Invalid protobuf file: '.*models\.config'"):
        configs.read(str(file), struct_pb2.Struct())
