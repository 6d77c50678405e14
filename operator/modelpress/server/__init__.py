"""TensorFlow Serving's REST and gRPC API on TensorFlow and TFLite in Python: for development, CI and arm64.

Flags, paths, status codes, error texts and metric names are TensorFlow Serving's. What is different on purpose:

- An unknown flag ends the start instead of being passed over; TLS, ALTS, PlatformConfigMap, per-model batching
  parameters and large batch splitting are refused; flags that change nothing are named in the log.
- SIGTERM drains for at most ten seconds and ends with status 0; TensorFlow Serving ignores it or dies at once.
- A base path that does not exist holds up its own model only, not the versions of all others.
- A TFLite model of several inputs is resized as a whole; TensorFlow Serving resizes input by input and may fail.
- TFLite inputs of a wrong type are refused; TensorFlow Serving copies their bytes.
- A request that timed out is answered in time, but what it started runs on to its end.
- JSON is laid out like TensorFlow Serving's down to the rows, not within them; floats are written with the fewest
  digits that read back as the same float.
- There are no request logs, no ProfilerService, no server reflection, and of TensorFlow's own metrics only
  `:tensorflow:cc:saved_model:load_attempt_count`.
"""
