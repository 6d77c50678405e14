"""Reads CompressedModels from files as kubectl would: YAML 1.2 numbers, several documents, nothing unknown."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from modelpress.api.resource import CompressedModel


def load(path: Path | str) -> list[CompressedModel]:
    """All CompressedModels of a file; raises InvalidResource with every problem."""
    reader = YAML(typ="safe", pure=True)
    documents = list(reader.load_all(Path(path).read_text(encoding="utf-8")))
    return [CompressedModel.model_validate(document) for document in documents if document]
