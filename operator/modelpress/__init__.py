"""modelpress: compress a TensorFlow model, prove the result against a gate, and serve it."""

__version__ = "0.1.0"
