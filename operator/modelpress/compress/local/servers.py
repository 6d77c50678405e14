"""Model servers to measure on: each serves its model, and beside it the constant-output model of the same form."""

from __future__ import annotations

from pathlib import Path

from modelpress.api.artifact import Form
from modelpress.api.request import Target
from modelpress.compress.evaluation import constant
from modelpress.compress.local.processes import ModelServer
from modelpress.compress.signature import Signature
from modelpress.compress.tflite import NotConvertible


class Servers:
    """Starts servers of one model; `logs` takes their logs, and the constant-output models once they are made."""

    def __init__(self, name: str, target: Target, signature: Signature, logs: Path) -> None:
        self._name, self._target, self._signature, self._logs = name, target, signature, logs
        self._constants: dict[Form, Path | None] = {}

    def of(self, base: Path, form: Form, log: str) -> ModelServer:
        """A server of the version directories in `base`, not loaded yet."""
        if form not in self._constants:
            self._constants[form] = self._constant(form)
        return ModelServer(
            self._name,
            base,
            form=form,
            target=self._target,
            log=self._logs / f"{log}.log",
            constant=self._constants[form],
        )

    def _constant(self, form: Form) -> Path | None:
        """Folder of the version; None where the form cannot hold one, and latency stays gross."""
        base = self._logs / f"constant-{form.lower()}"
        try:
            constant.write(self._signature, form, base / "1")
        except NotConvertible:
            return None
        return base
