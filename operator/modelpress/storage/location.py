"""From a URI of the resource to a path of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from modelpress.api.errors import Invalid

PVC_ROOT_VARIABLE = "MODELPRESS_PVC_ROOT"
PVC_ROOT = "/var/run/modelpress/pvc"
"""Where Jobs mount the claims that a resource names."""

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_CLAIM = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")


def resolve(uri: str, *, field: str) -> Path:
    """The path that a plain path, `file:` or `pvc://<claim>/<path>` means; it need not exist. `field` is for errors.

    Raises Invalid `UnsupportedScheme`, or `InvalidLocation` where the path leaves its claim.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return Path(uri).expanduser().absolute()
    match scheme.group(1).lower():
        case "file":
            return _file(uri, field)
        case "pvc":
            return _claim(uri, field)
        case name:
            raise Invalid(
                "UnsupportedScheme",
                f"{uri} has the scheme {name}:, which cannot be read or written; use s3, gs, az, http, https, hf, oci "
                "or pvc://<claim>/<path>, on one machine also a path or file:",
                field=field,
            )


def _file(uri: str, field: str) -> Path:
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise Invalid("InvalidLocation", f"{uri} names the host {host}; write file:///<absolute path>", field=field)
        rest = f"/{path}"
    return Path(unquote(rest)).absolute()


def _claim(uri: str, field: str) -> Path:
    claim, _, path = uri[len("pvc:") :].removeprefix("//").partition("/")
    if not _CLAIM.match(claim):
        raise Invalid("InvalidLocation", f"{uri} names no claim; write pvc://<claim>/<path>", field=field)
    if ".." in path.split("/"):
        raise Invalid("InvalidLocation", f"{uri} leaves its claim; write a path without ..", field=field)
    return Path(os.environ.get(PVC_ROOT_VARIABLE, PVC_ROOT)) / claim / path
