"""Metrics, logs, health and progress."""
