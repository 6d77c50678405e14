"""Credentials of remote stores: from a role's mounted Secret, else from what the process itself was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT_VARIABLE = "MODELPRESS_SECRETS_ROOT"
ROOT = "/var/run/modelpress/secrets"
"""Where Jobs mount Secrets: a directory for each role, such as source, artifacts or evaluation."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST"),
    "az": (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
    ),
    "http": ("HTTP_AUTHORIZATION",),
    "https": ("HTTP_AUTHORIZATION",),
    "hf": ("HF_TOKEN", "HF_ENDPOINT"),
    "oci": (".dockerconfigjson", "OCI_USERNAME", "OCI_PASSWORD", "OCI_PLAIN_HTTP"),
}
"""What is read of a Secret, by scheme; other keys are left alone."""


def of(role: str, scheme: str) -> dict[str, str]:
    """The credentials that `role` has for a scheme; empty where the client has to find its own (workload identity).

    A Secret, where one is mounted, is the only source: nothing is borrowed from another role or from the process.
    """
    directory = Path(os.environ.get(ROOT_VARIABLE, ROOT)) / role
    if directory.is_dir():
        files = {key: directory / key for key in KEYS[scheme]}
        return {key: path.read_text().strip() for key, path in files.items() if path.is_file()}
    return {key: os.environ[key] for key in KEYS[scheme] if os.environ.get(key)}
