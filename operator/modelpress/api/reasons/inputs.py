"""Reasons why a source or a data set cannot be taken."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason

BOTH = "compress and evaluate Jobs, `run`"
COMPRESS = "compress Job, `run`"
EVALUATE = "evaluate Job, `run`"

SOURCE = (
    Reason(
        "NotFound",
        BOTH,
        "Nothing is at the URI of the source or of a data set, or it is not mounted.",
        "Correct the path; check that the claim exists and holds it.",
    ),
    Reason(
        "NotAModel",
        COMPRESS,
        "What lies there is no model of the format, or one without a usable signature, or a SavedModel without a graph "
        "tagged `serve` and nothing else.",
        "Export it again (`tf.saved_model.save`, `model.export`, which tag it so), or correct `spec.source.format`.",
    ),
    Reason(
        "CodeNotTrusted",
        COMPRESS,
        "A Keras file carries code (a Lambda layer), or calls of TensorFlow that do more than compute; or a graph "
        "reads or writes files of its own choice.",
        "Replace it by layers of Keras, or by other operations; or set `spec.source.trust: Code`.",
    ),
    Reason(
        "WeightsOnly",
        COMPRESS,
        "An HDF5 file holds weights without the layers that they belong to.",
        "Load them into the model in code, and save all of it as .keras or SavedModel.",
    ),
    Reason(
        "CannotBeReadBack",
        COMPRESS,
        "A TFLite model computes in integers, has operations that are not known, or answers otherwise as SavedModel.",
        "Give the model that it was converted from.",
    ),
    Reason(
        "NotFiniteWeights",
        COMPRESS,
        "Weights of the source are NaN: its training had diverged.",
        "Take an earlier checkpoint.",
    ),
    Reason(
        "NeverRestored",
        COMPRESS,
        "Signatures read variables that the SavedModel does not restore when TensorFlow Serving loads it: Python's "
        "loader runs such a model, servers do not. `tf.saved_model.save` writes models of Keras 3 so; it is saved anew "
        "unless, as with lookup tables, that cannot be proved to change nothing.",
        "Export it with `model.export`; or load it and save it again as the message says.",
    ),
    Reason(
        "NeedsXla",
        COMPRESS,
        "The graph holds StableHLO or XLA operations (JAX), or functions with `jit_compile=True`; stock TensorFlow "
        "Serving compiles nothing unless `--xla_cpu_compilation_enabled=true` is set.",
        "As the message says: `jax2tf.convert(…, native_serialization=False, enable_xla=False)`, which JAX before "
        "0.7.2 knows; `tf.function` without `jit_compile`; of Keras's grouped convolutions only those of three "
        "dimensions need it, which a convolution for every group and `Concatenate` replace.",
    ),
    Reason(
        "UnservableOperation",
        COMPRESS,
        "The graph calls Python of the process that exported it (`tf.py_function`).",
        "Replace that by TensorFlow operations.",
    ),
    Reason(
        "UnknownOperation",
        COMPRESS,
        "The graph has an operation that neither TensorFlow nor stock TensorFlow Serving has.",
        "Export the model without it.",
    ),
    Reason(
        "CustomLayers",
        COMPRESS,
        "A Keras file needs custom layers or objects that are not part of Keras.",
        "Export the model as SavedModel.",
    ),
    Reason(
        "UnknownSignature",
        BOTH,
        "`spec.source.signatures` or a data set names a signature that the model does not have.",
        "Take one that the message lists.",
    ),
    Reason(
        "ScalarInput",
        COMPRESS,
        "A signature takes an input without any axis (a single value), so that it has no rows.",
        "Leave the signature out with `spec.source.signatures`, or export it with a batch axis.",
    ),
    Reason(
        "SourceDoesNotRun",
        COMPRESS,
        "The uncompressed model fails on a few rows of data, or on synthetic ones.",
        "Give data of the shapes that it takes, correct the model, or leave the signature out.",
    ),
    Reason(
        "SourceNotSteady",
        COMPRESS,
        "The uncompressed model answers the same rows differently each time (dropout, sampling), by more than a metric "
        "against the source allows.",
        "Export it in inference mode, or judge by a metric against labels.",
    ),
    Reason(
        "SourceDoesNotLoad",
        EVALUATE,
        "The model server cannot load the uncompressed model in time, so nothing can be compared.",
        "Make the source servable first; the message has the server's words. Or raise `spec.serving.resources`.",
    ),
    Reason(
        "LinkLeavesTree",
        COMPRESS,
        "A symbolic link points out of the directory, or to a directory.",
        "Copy what it points to.",
    ),
)

DATA = (
    Reason(
        "DataRequired",
        BOTH,
        "Examples are needed and cannot be guessed: `StaticInt8`, training, `Gradient`, or integer or string inputs.",
        "Set the data set that the message names, or save warm-up requests with the model.",
    ),
    Reason(
        "MissingColumn",
        BOTH,
        "`columns` names a column that the data does not have.",
        "Take one that the message lists.",
    ),
    Reason(
        "MissingInput",
        BOTH,
        "No column feeds an input of the signature.",
        "Add the column, or map one with `columns.inputs`.",
    ),
    Reason(
        "UnknownInput",
        BOTH,
        "`columns.inputs` maps a name that is no input of the signature.",
        "Write one that the message lists, before its column.",
    ),
    Reason(
        "ShapeMismatch",
        BOTH,
        "A column has another shape than its input.",
        "Reshape the column, or map another one.",
    ),
    Reason(
        "DtypeMismatch",
        BOTH,
        "A column holds values that the input's type cannot hold exactly.",
        "Save the column in the type of the input.",
    ),
    Reason(
        "DataMismatch",
        EVALUATE,
        "The source's server refuses the rows.",
        "Make the columns what the signature takes; the message has the server's words.",
    ),
    Reason(
        "UnequalColumns",
        BOTH,
        "The columns of a file have different numbers of rows, or none.",
        "Save the same number of rows, at least one, in each.",
    ),
    Reason(
        "MissingValue",
        BOTH,
        "A row of a CSV, Parquet or TFRecord file has no value in a column that is needed.",
        "Fill it in, or leave the row out.",
    ),
    Reason(
        "NotFiniteData",
        BOTH,
        "A value of an input or label is NaN or infinite: no answer to it could be compared.",
        "Replace the value, or leave the row out.",
    ),
    Reason(
        "NoRows",
        BOTH,
        "The files of a data set hold no rows, or no logged requests to its signature; or one row, which is calibrated "
        "on, so that none is left to measure on; or fewer to train on than the model takes at once.",
        "Give a set with more rows; for PredictionLog set the `signature` that was called.",
    ),
    Reason("UnequalShards", BOTH, "The files of a data set have different columns.", "Save the same in each."),
    Reason(
        "UnknownOutput",
        BOTH,
        "`columns.targets` or `spec.gate.metrics[].output` names an output that the signature does not give.",
        "Take one that the message lists.",
    ),
    Reason(
        "AmbiguousOutput",
        EVALUATE,
        "The signature gives several outputs, and a metric names none.",
        "Set `output` of that metric.",
    ),
    Reason(
        "LabelsRequired",
        BOTH,
        "A metric needs labels that the evaluation data lacks for its output, or `fineTune` has rows without labels.",
        "Map the label column with `columns.targets`; or use `Fidelity` or `Agreement`, which need none.",
    ),
    Reason(
        "TargetMismatch",
        BOTH,
        "Labels have a type or shape that does not fit the output for this metric or loss.",
        "Save them as the message says.",
    ),
    Reason(
        "LabelsOutOfRange",
        BOTH,
        "Labels of the evaluation or training data are no classes of the output, or, where it says whether something "
        "is so (one value, or several that do not exclude each other), neither 0 nor 1.",
        "Number the classes from 0, as the output does; write 0 and 1.",
    ),
    Reason(
        "FixedBatch",
        EVALUATE,
        "The model takes exactly so many rows a request, and `spec.gate.latency.batchSize` is another number; or "
        "`spec.serving.batching` would join requests to more or fewer rows.",
        "Set it to the model's number; leave batching out.",
    ),
    Reason(
        "SourceTooSlow",
        EVALUATE,
        "The source model did not answer a request of the evaluation within 120 s, though it held one row, or as many "
        "as the model fixes.",
        "Give the server more CPU in `spec.serving.resources`, or lower `spec.gate.latency.batchSize`; export the "
        "model with a smaller batch, or shorten the inputs.",
    ),
)
