"""The only code that imports kopf, which here is informer and runtime; every handler only enqueues."""
