"""Reasons why a Job or a local run cannot go on with what it was given."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason, Section

_BOTH = "compress and evaluate Jobs, `run`"
_COMPRESS = "compress Job, `run`"
_EVALUATE = "evaluate Job, `run`"
_PODS = "`fetch`: evaluate Job, serving pods, `run`"

_SOURCE = (
    Reason(
        "NotFound",
        _BOTH,
        "Nothing is at the URI of the source or of a data set, or it is not mounted.",
        "Correct the path; check that the claim exists and holds it.",
    ),
    Reason(
        "NotAModel",
        _COMPRESS,
        "What lies there is no model of the format, or one without a usable signature.",
        "Export it again (`tf.saved_model.save`, `model.export`), or correct `spec.source.format`.",
    ),
    Reason(
        "CodeNotTrusted",
        _COMPRESS,
        "A Keras file carries code (a Lambda layer), or a graph reads or writes files of its own choice.",
        "Replace it by layers of Keras, or by other operations; or set `spec.source.trust: Code`.",
    ),
    Reason(
        "WeightsOnly",
        _COMPRESS,
        "An HDF5 file holds weights without the layers that they belong to.",
        "Load them into the model in code, and save all of it as .keras or SavedModel.",
    ),
    Reason(
        "CannotBeReadBack",
        _COMPRESS,
        "A TFLite model computes in integers, has operations that are not known, or answers otherwise as SavedModel.",
        "Give the model that it was converted from.",
    ),
    Reason(
        "NotFiniteWeights",
        _COMPRESS,
        "Weights of the source are NaN: its training had diverged.",
        "Take an earlier checkpoint.",
    ),
    Reason(
        "NeverRestored",
        _COMPRESS,
        "Signatures read variables that the SavedModel does not restore when TensorFlow Serving loads it: Python's "
        "loader runs such a model, servers do not. `tf.saved_model.save` writes models of Keras 3 so; it is saved anew "
        "unless, as with lookup tables, that cannot be proved to change nothing.",
        "Export it with `model.export`; or load it and save it again as the message says.",
    ),
    Reason(
        "NeedsXla",
        _COMPRESS,
        "The graph holds StableHLO or XLA operations (JAX), or functions with `jit_compile=True`; stock TensorFlow "
        "Serving compiles nothing unless `--xla_cpu_compilation_enabled=true` is set.",
        "Export it without: `jax2tf.convert(…, native_serialization=False, enable_xla=False)`, which JAX before 0.7.2 "
        "knows; no `jit_compile`.",
    ),
    Reason(
        "UnservableOperation",
        _COMPRESS,
        "The graph calls Python of the process that exported it (`tf.py_function`).",
        "Replace that by TensorFlow operations.",
    ),
    Reason(
        "UnknownOperation",
        _COMPRESS,
        "The graph has an operation that neither TensorFlow nor stock TensorFlow Serving has.",
        "Export the model without it.",
    ),
    Reason(
        "CustomLayers",
        _COMPRESS,
        "A Keras file needs custom layers or objects that are not part of Keras.",
        "Export the model as SavedModel.",
    ),
    Reason(
        "UnknownSignature",
        _BOTH,
        "`spec.source.signatures` or a data set names a signature that the model does not have.",
        "Take one that the message lists.",
    ),
    Reason(
        "ScalarInput",
        _COMPRESS,
        "A signature takes an input without any axis (a single value), so that it has no rows.",
        "Leave the signature out with `spec.source.signatures`, or export it with a batch axis.",
    ),
    Reason(
        "SourceDoesNotRun",
        _COMPRESS,
        "The uncompressed model fails on a few rows of data, or on synthetic ones.",
        "Give data of the shapes that it takes, correct the model, or leave the signature out.",
    ),
    Reason(
        "SourceNotSteady",
        _COMPRESS,
        "The uncompressed model answers the same rows differently each time (dropout, sampling), by more than a metric "
        "against the source allows.",
        "Export it in inference mode, or judge by a metric against labels.",
    ),
    Reason(
        "SourceDoesNotLoad",
        _EVALUATE,
        "The model server cannot load the uncompressed model in time, so nothing can be compared.",
        "Make the source servable first; the message has the server's words. Or raise `spec.serving.resources`.",
    ),
    Reason(
        "LinkLeavesTree",
        _COMPRESS,
        "A symbolic link points out of the directory, or to a directory.",
        "Copy what it points to.",
    ),
)

_DATA = (
    Reason(
        "DataRequired",
        _BOTH,
        "Examples are needed and cannot be guessed: `StaticInt8`, training, `Gradient`, or integer or string inputs.",
        "Set the data set that the message names, or save warm-up requests with the model.",
    ),
    Reason(
        "MissingColumn",
        _BOTH,
        "`columns` names a column that the data does not have.",
        "Take one that the message lists.",
    ),
    Reason(
        "MissingInput",
        _BOTH,
        "No column feeds an input of the signature.",
        "Add the column, or map one with `columns.inputs`.",
    ),
    Reason(
        "ShapeMismatch",
        _BOTH,
        "A column has another shape than its input.",
        "Reshape the column, or map another one.",
    ),
    Reason(
        "DtypeMismatch",
        _BOTH,
        "A column holds values that the input's type cannot hold exactly.",
        "Save the column in the type of the input.",
    ),
    Reason(
        "DataMismatch",
        _EVALUATE,
        "The source's server refuses the rows.",
        "Make the columns what the signature takes; the message has the server's words.",
    ),
    Reason(
        "UnequalColumns",
        _BOTH,
        "The columns of a file have different numbers of rows, or none.",
        "Save the same number of rows, at least one, in each.",
    ),
    Reason(
        "MissingValue",
        _BOTH,
        "A row of a CSV, Parquet or TFRecord file has no value in a column that is needed.",
        "Fill it in, or leave the row out.",
    ),
    Reason(
        "NotFiniteData",
        _BOTH,
        "A value of an input or label is NaN or infinite: no answer to it could be compared.",
        "Replace the value, or leave the row out.",
    ),
    Reason(
        "NoRows",
        _BOTH,
        "The files of a data set hold no rows, or no logged requests to its signature.",
        "Give a set with rows; for PredictionLog set the `signature` that was called.",
    ),
    Reason("UnequalShards", _BOTH, "The files of a data set have different columns.", "Save the same in each."),
    Reason(
        "UnknownOutput",
        _BOTH,
        "`columns.targets` or `spec.gate.metrics[].output` names an output that the signature does not give.",
        "Take one that the message lists.",
    ),
    Reason(
        "AmbiguousOutput",
        _EVALUATE,
        "The signature gives several outputs, and a metric names none.",
        "Set `output` of that metric.",
    ),
    Reason(
        "LabelsRequired",
        _BOTH,
        "A metric needs labels that the evaluation data lacks for its output, or `fineTune` has rows without labels.",
        "Map the label column with `columns.targets`; or use `Fidelity` or `Agreement`, which need none.",
    ),
    Reason(
        "TargetMismatch",
        _EVALUATE,
        "Labels have a type or shape that does not fit the output for this metric.",
        "Save them as the message says.",
    ),
    Reason(
        "LabelsOutOfRange",
        _BOTH,
        "Labels of the evaluation or training data are no classes of the output.",
        "Number the classes from 0, as the output does.",
    ),
    Reason(
        "FixedBatch",
        _EVALUATE,
        "The model takes exactly so many rows a request, and `spec.gate.latency.batchSize` is another number.",
        "Set it to the model's number.",
    ),
)

_RECIPE = (
    Reason(
        "StepCannotApply",
        _COMPRESS,
        "A step cannot be done with this model or form: it is frozen, or the scheme cannot be served so.",
        "Leave the step out, or take the scheme or form that the message names.",
    ),
    Reason(
        "FormNotPossible",
        _COMPRESS,
        "No form that `spec.recipe.format` allows can be built of the model, whatever the scheme.",
        "Leave `format` out, or export the model without the parts that the message names.",
    ),
    Reason("UnknownLayer", _COMPRESS, "A pattern in `excludeLayers` matches no layer.", "Correct or remove it."),
    Reason(
        "LossUnclear",
        _COMPRESS,
        "No loss follows from output and labels.",
        "Set `spec.recipe.training.loss`, and map the label column.",
    ),
    Reason(
        "InvalidWorkers",
        "compress Job",
        "`spec.jobs.workers` is above 1, but the pod does not know its number or its fellows.",
        "Run it as an Indexed Job, as the operator does; or leave `MODELPRESS_WORKERS` out.",
    ),
    Reason(
        "WorkerLost",
        "compress Job",
        "A worker of several went away while they trained. The Job is tried again, and training resumes.",
        "None, as long as `spec.jobs.retries` is not used up; see why the pod went.",
    ),
    Reason(
        "StudentDoesNotFit",
        _COMPRESS,
        "The model at `student.uri` takes or gives something else than the source, whose place it would take.",
        "Export it with the signatures, inputs and outputs that the message names.",
    ),
    Reason(
        "TrainingDiverged",
        _COMPRESS,
        "The loss became NaN or infinite, or rose far above that of a model that always gives the same answer.",
        "Lower `learningRate`, and check the rows for NaN.",
    ),
)

_PROGRAMS = (
    Reason("PortInUse", "`run`", "A port that was asked for is taken.", "Stop what listens there, or choose another."),
    Reason(
        "RequestsUnreadable",
        "`run`",
        "`requests.json` is no JSON, or holds no body of TensorFlow Serving's predict API.",
        "Correct it, or remove it.",
    ),
    Reason(
        "UnknownFlag",
        "`serve`",
        "There is no such flag of `tensorflow_model_server`.",
        "Correct it; flags are `--name=value`.",
    ),
    Reason(
        "UnsupportedFlag",
        "`serve`",
        "The local server does not have what the flag asks for.",
        "Leave it out, or use `tensorflow_model_server`.",
    ),
    Reason(
        "InvalidFlag",
        "`serve`, `sidecar`",
        "A flag has no value, a wrong one, or does not go with another.",
        "Do as the message says.",
    ),
    Reason(
        "InvalidAddress",
        "`sidecar`",
        "A flag is no address.",
        "Write `host:port` or `unix:/path`.",
    ),
    Reason(
        "InvalidDigest",
        "`sidecar`",
        "`--artifact-digest` is no digest.",
        "Write `sha256:` and 64 hexadecimal digits.",
    ),
)

SECTION = Section(
    "Input of Jobs and of local runs",
    "The program prints `<reason>: <field>: <message>` and ends with exit status 64, so that the Job is not tried "
    "again. In a cluster the reason becomes that of `Ready` and `Stalled`, and of `SourceResolved`, `Compressed` or "
    "`GatePassed`. Where the cure lies outside of the resource (a file was restored, a claim enlarged), set the "
    "annotation `modelpress.dev/reconcile-requested-at` to the time afterwards, which starts a new Job. `run`, `serve` "
    "and so on stand for `modelpress run` and `modelpress serve`.",
    (*_SOURCE, *_DATA, *_RECIPE, *_PROGRAMS),
)
