"""Predict, whatever the protocol: names checked against the signature, one run, outputs by alias."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from modelpress.server import signatures
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Array, Servable
from modelpress.server.signatures import Signature


def signature_of(servable: Servable, name: str) -> Signature:
    """The signature a Predict call asks for; empty means the default one."""
    name = name or signatures.DEFAULT
    found = servable.signatures.get(name)
    if found is None:
        raise Failure(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return found


def check_method(signature: Signature) -> None:
    """With --enable_signature_method_name_check only."""
    if signature.method not in (signatures.PREDICT, signatures.CLASSIFY, signatures.REGRESS):
        raise Failure(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{signatures.PREDICT}, {signatures.CLASSIFY}, "
            f"{signatures.REGRESS}}}. Was: {signature.method}",
        )


def predict(
    servable: Servable,
    signature: Signature,
    given: Mapping[str, Array],
    output_filter: Sequence[str] = (),
    *,
    model: str,
    metrics: Metrics,
) -> dict[str, Array]:
    """Run one signature; raises Failure. An empty filter means all outputs."""
    values = _values(signature, given)
    aliases, fetches = _outputs(signature, output_filter)
    began = time.perf_counter_ns()
    outputs = servable.run(signature.feeds, values, fetches)
    metrics.runtime_latency.add((time.perf_counter_ns() - began) / 1000, model, "Predict", "TF1")
    return dict(zip(aliases, outputs, strict=True))


def _values(signature: Signature, given: Mapping[str, Array]) -> Sequence[Array]:
    wanted = signature.inputs
    if len(given) > len(wanted) or (len(given) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(wanted)} len({{{_set(given)}}}) != "
            f"len({{{_set(wanted)}}}). Sent extra: {{{_set(given.keys() - wanted.keys())}}}. "
            f"Missing but required: {{{_set(wanted.keys() - given.keys())}}}."
        )
    values = []
    used = []
    for alias, feed in wanted.items():
        value = given.get(alias)
        if value is not None:
            used.append(alias)
        elif alias in signature.defaults:
            value = signature.defaults[alias]
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {feed}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {{{_set(given)}}}, or default input alias set: "
                f"{_set(signature.defaults)}"
            )
        values.append(value)
    if len(used) != len(given):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_set(used)}, request input: {_set(given)}"
        )
    return values


def _outputs(signature: Signature, output_filter: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    if not output_filter:
        return tuple(signature.outputs), signature.fetches
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_set(signature.outputs)}}}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return output_filter, tuple(signature.outputs[alias] for alias in output_filter)


def _set(names: Sequence[str] | Mapping[str, object] | set[str]) -> str:
    return ",".join(sorted(names))
