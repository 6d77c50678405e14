"""The base of every pydantic model: camelCase outside, snake_case inside, immutable."""

from __future__ import annotations

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

GROUP: Final = "modelpress.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "CompressedModel"
API_VERSION: Final = "modelpress.dev/v1alpha1"


class Model(BaseModel):
    """Unknown keys are ignored, because a newer CRD must not break an older operator; `validate` forbids them."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        ser_json_inf_nan="strings",
        protected_namespaces=(),
    )

    def plain(self) -> dict[str, Any]:
        """JSON-ready camelCase mapping without absent (None) values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def json_line(self) -> str:
        """One line of compact JSON, keys as in the API, absent values left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises pydantic.ValidationError."""
        return cls.model_validate_json(text)
