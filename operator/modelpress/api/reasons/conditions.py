"""Reasons of the conditions in a CompressedModel's status."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason, Section

_GOING_ON = "`Ready` False, `Reconciling`"
_FAILED = "`Ready` False, `Stalled`"
_NOTHING = "None is needed."

_PROGRESS = (
    Reason(
        "Pending",
        "`SourceResolved`, `Compressed`, `GatePassed`, `AutoscalerReady` Unknown",
        "What the condition is about has not happened yet, or its pods do not report yet.",
        "Wait; `Ready` says what is under way.",
    ),
    Reason(
        "Compressing",
        f"{_GOING_ON}, `Compressed` Unknown",
        "The compress Job is under way, or waits for a node, a volume, an image or its queue.",
        "Wait; the message says what the Job's pod waits for.",
    ),
    Reason(
        "Evaluating",
        f"{_GOING_ON}, `GatePassed` Unknown",
        "A candidate is being measured beside the source.",
        "Wait; the message says what the Job's pod waits for.",
    ),
    Reason(
        "RollingOut",
        _GOING_ON,
        "The revision passed; its pods are being started.",
        "Wait until `spec.rollout.progressDeadline`; the message says what a pod waits for.",
    ),
    Reason(
        "Suspended",
        "`Ready` False",
        "`spec.suspend` is true: what serves goes on, no Job or rollout is started.",
        "Set `spec.suspend: false`.",
    ),
    Reason("Serving", "`Ready` True", "The revision of this generation serves.", _NOTHING),
    Reason(
        "ServingSource",
        "`Ready` True",
        "No candidate passed the gate, and `spec.gate.onFailure` is `ServeSource`: the source itself serves.",
        "To serve a compressed model, see `GateFailed`.",
    ),
    Reason(
        "Stopped",
        "`Ready` True, `Available` False",
        "`spec.serving.replicas` is 0.",
        "Set `spec.serving.replicas` to 1 or more, or leave it out.",
    ),
    Reason("Resolved", "`SourceResolved` True", "The source was found and read; the message has its digest.", _NOTHING),
    Reason("Compressed", "`Compressed` True", "The compress Job ended well; the message lists candidates.", _NOTHING),
    Reason(
        "Passed",
        "`GatePassed` True; decision and verdicts in the report of `modelpress run`",
        "Every limit of `spec.gate` holds; the message has the numbers.",
        _NOTHING,
    ),
    Reason("PodsReady", "`Available` True", "At least one pod answers requests.", _NOTHING),
    Reason(
        "NoPodReady",
        "`Available` False",
        "Pods are wanted, and none is ready.",
        "The message says what a pod waits for; else look at the pods' logs and events.",
    ),
    Reason(
        "NothingServes",
        "`Available` False",
        "No revision has been rolled out yet.",
        "Wait, or see the reason of `Ready`.",
    ),
)

_FAILURES = (
    Reason(
        "GateFailed",
        f"{_FAILED}, `GatePassed` False; decision of `modelpress run`",
        "The last candidate breaks a limit of `spec.gate`; the message says by how much. What served before goes on.",
        "Loosen that limit, use a milder recipe, or set `spec.gate.onFailure: ServeSource`. "
        "What was measured is judged again, not measured again.",
    ),
    Reason(
        "NoCandidate",
        f"{_FAILED}, `GatePassed` False; decision of `modelpress run`",
        "Nothing that was built can be served; the message says why. What served before goes on.",
        "See *Refused candidates*; use another recipe or `spec.recipe.format`.",
    ),
    Reason(
        "CompressionFailed",
        f"{_FAILED}, `Compressed` False",
        "The compress Job failed without telling why itself: out of memory, over `spec.jobs.timeout`, evicted too "
        "often. The message has the Job's words and the last pod's.",
        "`OOMKilled`: raise `spec.jobs.resources`. `DeadlineExceeded`: raise `spec.jobs.timeout`. Such a change makes "
        "the Job again; where nothing is to be changed, set the annotation `modelpress.dev/reconcile-requested-at` to "
        "the time.",
    ),
    Reason(
        "EvaluationFailed",
        f"{_FAILED}, `GatePassed` False",
        "The evaluate Job failed without telling why itself.",
        "`OOMKilled`: raise `spec.serving.resources`, or the memory of `spec.jobs.resources` if it was the container "
        "`evaluate`. Such a change makes the Job again; where nothing is to be changed, set the annotation "
        "`modelpress.dev/reconcile-requested-at` to the time.",
    ),
    Reason(
        "Internal",
        f"{_FAILED}, `Compressed` or `GatePassed` False",
        "A Job met an error that nobody foresaw, in each of its tries; the message has its type.",
        "Read the Job's log, and report it with the log.",
    ),
    Reason(
        "RolloutFailed",
        _FAILED,
        "The revision passed, but its pods did not become ready in time, and the former one was put back.",
        "The message says what a pod waited for: put it right (image, resources, nodes, deadline). A change of what "
        "the pods depend on rolls the revision out again; where nothing is to be changed, set the annotation "
        "`modelpress.dev/restarted-at` to the time.",
    ),
    Reason(
        "ProgressDeadlineExceeded",
        _FAILED,
        "The pods did not become ready within `spec.rollout.progressDeadline`: those of the first revision, or of "
        "the serving one after a change. Where another revision served, it is put back: `RolloutFailed`.",
        "The message says what a pod waits for: put it right, or raise the deadline.",
    ),
    Reason(
        "UnreadableResource",
        _FAILED,
        "The operator cannot read this object: the CRD that let it in is of another release. What serves goes on.",
        "Apply the CRD of the operator's release (folder `crds/`), then correct the field in the message.",
    ),
    Reason(
        "NameTaken",
        _FAILED,
        "An object that belongs to somebody else has the name of a child; it is never taken over.",
        "Rename or delete that object, or rename the CompressedModel.",
    ),
    Reason(
        "RefusedByAPIServer",
        _FAILED,
        "The API server refuses a child for good: missing rights, a quota, Pod Security, an admission webhook, or a "
        "CRD of another release.",
        "The message has the server's words. Grant, raise or correct it; the operator tries again by itself.",
    ),
)

_INFORMATIVE = (
    Reason(
        "Disabled",
        "`CacheEffective` False",
        "`spec.cache.mode` is `Disabled`.",
        "Set `spec.cache.mode: Enabled` for a cache.",
    ),
    Reason(
        "NotDeterministic",
        "`CacheEffective` False",
        "The model answers one input in different ways (random operations), so no answer is kept.",
        "Export the model in inference mode, without dropout or sampling; or leave it so.",
    ),
    Reason(
        "Effective",
        "`CacheEffective` True; `cache.effective` in a sidecar's `/state`",
        "Answers from the cache save more of the model's time than looking them up costs.",
        _NOTHING,
    ),
    Reason(
        "CostsMoreThanItSaves",
        "`CacheEffective` False; `cache.effective` in a sidecar's `/state`",
        "Requests repeat too seldom, or the model is too fast, for the cache to pay.",
        "With `spec.cache.mode: Auto` it switches itself off and tries again now and then; `Disabled` ends that.",
    ),
    Reason(
        "NotMeasured",
        "`CacheEffective` Unknown; `cache.effective` in a sidecar's `/state`",
        "Too few requests have come to tell, or no pod is ready.",
        "Wait; `kubectl modelpress cache stats` has the numbers so far.",
    ),
    Reason(
        "SidecarsUnreachable",
        "`CacheEffective` Unknown",
        "With `spec.cache.mode: Auto` the operator asks ready pods every minute, and none has answered three times.",
        "Let the operator's namespace reach port 9090 of the pods: a network policy, a mesh, or a firewall is in the "
        "way. Requests are served all the same.",
    ),
    Reason(
        "NotJudged",
        "`CacheEffective` Unknown",
        "`spec.cache.mode` is `Enabled`: the cache stays on, whether it pays or not, so nobody asks.",
        "Ask `kubectl modelpress cache stats`; or set `Auto`.",
    ),
    Reason("NotWanted", "`AutoscalerReady` Unknown", "`spec.autoscaling` is not set.", _NOTHING),
    Reason("ScalingActive", "`AutoscalerReady` True", "The HorizontalPodAutoscaler reads its metric.", _NOTHING),
    Reason(
        "NotActive",
        "`AutoscalerReady` False",
        "The HorizontalPodAutoscaler cannot scale and gives no reason. Where it gives one, such as "
        "`FailedGetResourceMetric`, that is the reason.",
        "Look at its events; most often metrics-server is missing, or a container has no CPU request.",
    ),
)

SECTION = Section(
    "Conditions",
    "In `status.conditions[].reason`; that of `Ready` is in the column REASON of `kubectl get`, and in an Event at "
    "each turn. `Stalled` means that only a change helps. Beside these, `Ready`, `Stalled` and the stage's condition "
    "take over the reason of *The resource* or *Input of Jobs and of local runs* where the fault lies there. What "
    "Kubernetes itself says of pods and Jobs (`ImagePullBackOff`, `Unschedulable`, `OOMKilled`, `DeadlineExceeded`) "
    "stands in messages.",
    (*_PROGRESS, *_FAILURES, *_INFORMATIVE),
)
