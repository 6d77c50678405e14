"""Measuring a candidate beside its source, both through a model server's API."""
