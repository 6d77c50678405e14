"""Formats of trained models beside SavedModel, recognised and turned into one."""
