"""The whole way of a model on one machine: compress, measure, judge, serve; every process ends with the run."""
