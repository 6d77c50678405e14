"""The configuration files of TensorFlow Serving: which models, which of their versions, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from modelpress.server.failure import Code, Failure, invalid_argument

PLATFORM = "tensorflow"


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """Which of the version directories are wanted."""

    kind: Literal["latest", "all", "specific"] = "latest"
    latest: int = 1
    specific: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One entry of model_config_list."""

    name: str
    base_path: str
    platform: str = PLATFORM
    policy: Policy = Policy()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def models(config: Any) -> Sequence[Model]:
    """From a ModelServerConfig message; raises Failure."""
    if config.WhichOneof("config") == "custom_model_config":
        raise invalid_argument("custom_model_config is not supported; use model_config_list")
    return [_model(entry) for entry in config.model_config_list.config]


def check(wanted: Sequence[Model]) -> None:
    """Raise Failure for a list that TensorFlow Serving would refuse."""
    seen: set[str] = set()
    for model in wanted:
        if model.name in seen:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
        if not model.base_path.startswith("/"):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
        if model.platform != PLATFORM:
            raise invalid_argument(f"Model {model.name} requests unsupported platform {model.platform}")


def check_platforms(old: Sequence[Model], new: Sequence[Model]) -> None:
    """A model's platform is fixed once it is served."""
    before = {model.name: model.platform for model in old}
    for model in new:
        if before.get(model.name, model.platform) != model.platform:
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was {before[model.name]} "
                f"and new platform requested is {model.platform}"
            )


def aspired(model: Model) -> Mapping[int, Path]:
    """Version numbers and directories that should be served now; OSError when the base path cannot be read."""
    found: dict[int, Path] = {}
    for path in sorted(Path(model.base_path).iterdir()):
        if path.name.isascii() and path.name.isdigit() and path.is_dir():
            found[int(path.name)] = path
    if model.policy.kind == "specific":
        return {number: found[number] for number in model.policy.specific if number in found}
    if model.policy.kind == "latest":
        return {number: found[number] for number in sorted(found)[-model.policy.latest :]}
    return found


def _model(entry: Any) -> Model:
    if entry.model_type and entry.model_platform:
        raise invalid_argument(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if not entry.model_type and not entry.model_platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return Model(
        name=entry.name,
        base_path=entry.base_path,
        platform=entry.model_platform or PLATFORM,
        policy=_policy(entry.model_version_policy),
        labels=dict(entry.version_labels),
    )


def _policy(message: Any) -> Policy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return Policy("all")
        case "specific":
            return Policy("specific", specific=tuple(message.specific.versions))
        case "latest" if message.latest.num_versions:
            return Policy(latest=message.latest.num_versions)
        case _:
            return Policy()


def parse(text: str, message: Any, *, source: str) -> Any:
    """Read text format into an empty message; Failure names the file and the place."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise Failure(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{source}': {error}") from error


def read(path: str, message: Any) -> Any:
    """Read a text format file into an empty message; raises Failure."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise Failure(Code.NOT_FOUND, f"{path}: {error.strerror}") from error
    return parse(text, message, source=path)
