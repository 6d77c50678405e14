"""Readers of data sets, one module for each format, and the binding of their columns to a signature."""
