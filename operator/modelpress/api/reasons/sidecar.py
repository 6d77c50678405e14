"""Reasons of the sidecar: why a request is not answered from the cache, and why it is turned away."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason, Section

_BYPASSED = "`bypassed`"
_REFUSED = "`refused`"
_EXHAUSTED = f"{_REFUSED}; 429, `RESOURCE_EXHAUSTED`"

BYPASSED = Section(
    "Requests past the cache",
    "The label `reason` of `modelpress_sidecar_bypassed_total`. The model answers these requests; only the cache is "
    "not used.",
    (
        Reason("CacheDisabled", _BYPASSED, "`spec.cache.mode` is `Disabled`.", "Set `Enabled` if a cache would help."),
        Reason(
            "NotDeterministic",
            _BYPASSED,
            "The model answers one input in different ways.",
            "Export it in inference mode, without dropout or sampling.",
        ),
        Reason(
            "NotEffective",
            _BYPASSED,
            "`spec.cache.mode` is `Auto`, and the cache costs more time than it saves.",
            "Nothing: it is tried again by itself. Set `Enabled` to use it all the same.",
        ),
        Reason(
            "NotCacheable",
            _BYPASSED,
            "Another method than Predict: Classify, Regress, MultiInference, metadata, status, health.",
            "Call Predict where an answer should be kept.",
        ),
        Reason(
            "VersionUnknown",
            _BYPASSED,
            "The server has not reported exactly one available version, as while it loads.",
            "Wait; if it lasts, look at the server's log.",
        ),
        Reason(
            "OtherVersion",
            _BYPASSED,
            "The client asks for a version that is not the one served.",
            "Leave the version out of requests.",
        ),
        Reason(
            "VersionLabel",
            _BYPASSED,
            "The client asks for a version by label.",
            "Leave the label out of requests.",
        ),
        Reason(
            "OtherModel",
            _BYPASSED,
            "The client names another model.",
            "Use `spec.serving.modelName` (by default the resource's name).",
        ),
        Reason(
            "Malformed",
            _BYPASSED,
            "The body is no PredictRequest.",
            "Correct the client; the model server's answer says more.",
        ),
        Reason(
            "UnknownFields",
            _BYPASSED,
            "The PredictRequest has fields that this release does not know, so its meaning is open.",
            "Use the protocol buffers of TensorFlow Serving 2.20.",
        ),
        Reason(
            "UnsupportedTensor",
            _BYPASSED,
            "A tensor has a type, size or encoding for which no key can be made.",
            "Send dense tensors of plain types, with their values in one field.",
        ),
        Reason("Compressed", _BYPASSED, "The body is compressed.", "Send it without compression."),
        Reason(
            "Candidate",
            _BYPASSED,
            "The rollout sent the request to the candidate, whose own sidecar keeps its answers.",
            "Nothing: it ends with the rollout.",
        ),
        Reason(
            "Query",
            _BYPASSED,
            "A REST request has a query string, which TensorFlow Serving does not define.",
            "Leave it out.",
        ),
    ),
)

REFUSED = Section(
    "Requests turned away",
    "The label `reason` of `modelpress_sidecar_refused_total`, beside the HTTP status and the gRPC code that the "
    "client gets. These requests never reached the model.",
    (
        Reason(
            "QueueFull",
            _EXHAUSTED,
            "The model is busy, and as many requests wait as `spec.concurrency.queue.depth` allows.",
            "Scale out, or raise the depth; clients try again after `Retry-After`.",
        ),
        Reason(
            "QueueTimeout",
            _EXHAUSTED,
            "The request waited for `spec.concurrency.queue.timeout` in vain.",
            "Scale out, or raise the timeout; clients try again after `Retry-After`.",
        ),
        Reason(
            "WaitTooLong",
            _EXHAUSTED,
            "By its length and the mean time of an answer, the line takes longer than the client's deadline or "
            "`spec.concurrency.queue.timeout`; the request is refused at once instead of in vain later.",
            "Scale out, or raise the timeout or the client's deadline; clients try again after `Retry-After`.",
        ),
        Reason(
            "DeadlineExceeded",
            f"{_REFUSED}; 504, `DEADLINE_EXCEEDED`",
            "The client's deadline or `spec.serving.requestTimeout` passed before there was an answer to give.",
            "Scale out, or give requests more time.",
        ),
        Reason(
            "ClientGone",
            f"{_REFUSED}; 499, `CANCELLED`",
            "The client went away while it sent its request or waited in line.",
            "If there are many, clients wait for less than the model takes.",
        ),
        Reason(
            "TooLarge",
            f"{_REFUSED}; 413, `RESOURCE_EXHAUSTED`",
            "The body is larger than the sidecar takes (64 MiB).",
            "Send smaller batches.",
        ),
        Reason(
            "Memory",
            _EXHAUSTED,
            "The bodies of all requests in progress together are too large.",
            "Send smaller batches or fewer at once, or scale out.",
        ),
        Reason(
            "Denied",
            f"{_REFUSED}; `PERMISSION_DENIED`",
            "A gRPC method that clients of a model may not call: reloading configuration, the profiler, reflection.",
            "Change the CompressedModel instead.",
        ),
        Reason(
            "Unimplemented",
            f"{_REFUSED}; `UNIMPLEMENTED`",
            "There is no such gRPC method.",
            "Use PredictionService, ModelService or the health service.",
        ),
        Reason(
            "Malformed",
            f"{_REFUSED}; 400, 408, 414, 417, 431, 501, 505, `INTERNAL`",
            "No valid HTTP/1.1 request, or a gRPC call without exactly one message; the answer says what is wrong.",
            "Correct the client; TLS ends before the sidecar, and gRPC has a port of its own.",
        ),
        Reason(
            "Internal",
            f"{_REFUSED}; 500, `INTERNAL`",
            "A fault of the sidecar; its log has the traceback.",
            "Report it; `spec.cache.mode: Disabled` may help meanwhile.",
        ),
    ),
)
