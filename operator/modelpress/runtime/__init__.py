"""TensorFlow Serving as we run it: flags, batching parameters, commands and probes. Pure."""
