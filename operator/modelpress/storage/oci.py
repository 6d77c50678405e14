"""Models in OCI registries: ORAS artifacts, whose layers are files by title, and images, whose layers are archives.

Layout: https://github.com/opencontainers/image-spec/blob/main/manifest.md, titles in `org.opencontainers.image.title`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import oras.container
import oras.provider
import requests
from fsspec import AbstractFileSystem

from modelpress.api.errors import Invalid

TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_ORAS_FILE = "application/vnd.oci.image.layer.v1.tar"
_CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60
_PLATFORM = {"os": "linux", "architecture": "amd64"}


class RegistryFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """A reference such as `registry/repository:tag` or `…@sha256:<hex>` as a folder of its layers; read-only."""

    protocol = "oci"

    def __init__(
        self,
        docker_config: str | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        plain_http: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._plain_http = plain_http
        self._auths = json.loads(docker_config).get("auths", {}) if docker_config else {}
        self._login = (username, password) if username and password else None
        self._layers: dict[str, dict[str, dict[str, Any]]] = {}

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **_: Any
    ) -> Any:
        """The layers by path: a title, else their number and digest with the suffix of an archive."""
        found = {
            f"{path}/{name}": {"name": f"{path}/{name}", "type": "file", "size": layer["size"], "ETag": layer["digest"]}
            for name, layer in self._of(path).items()
        }
        return found if detail else sorted(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """A reference is a directory."""
        self._of(path)
        return {"name": path, "type": "directory", "size": 0}

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        """Downloads a layer. Raises Invalid `DigestMismatch` where the registry sends other bytes."""
        reference, name = next(
            (known, rpath.removeprefix(f"{known}/")) for known in self._layers if rpath.startswith(f"{known}/")
        )
        digest = self._layers[reference][name]["digest"]
        hashed = hashlib.sha256()
        registry, container = self._registry(reference)
        with registry.get_blob(container, digest, stream=True) as answer, Path(lpath).open("wb") as written:
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK_BYTES):
                hashed.update(chunk)
                written.write(chunk)
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise Invalid("DigestMismatch", f"{reference} sends {name} with another digest than {digest}")

    def _of(self, reference: str) -> dict[str, dict[str, Any]]:
        if reference not in self._layers:
            registry, container = self._registry(reference)
            manifest = _manifest(registry, container)
            if "manifests" in manifest:
                chosen = _for_platform(manifest["manifests"])
                container = oras.container.Container(f"{container.registry}/{container.api_prefix}@{chosen['digest']}")
                manifest = _manifest(registry, container)
            self._layers[reference] = {_name(number, layer): layer for number, layer in enumerate(manifest["layers"])}
        return self._layers[reference]

    def _registry(self, reference: str) -> tuple[Any, Any]:
        container = oras.container.Container(reference)
        host = container.registry
        trusted = _authorities()
        scheme = "http" if self._plain_http else "https"
        challenge = requests.get(f"{scheme}://{host}/v2/", timeout=TIMEOUT_SECONDS, verify=trusted)
        wants_password = challenge.headers.get("WWW-Authenticate", "").lower().startswith("basic")
        registry = _Registry(
            hostname=host,
            insecure=self._plain_http,
            tls_verify=trusted,
            auth_backend="basic" if wants_password else "token",
        )
        registry.session.request = functools.partial(registry.session.request, timeout=TIMEOUT_SECONDS)
        login = self._login or _login(self._auths, host)
        if login is not None:
            registry.auth.set_basic_auth(*login)
        return registry, container


def _authorities() -> str | bool:
    """The file that clients of other stores heed as well; True for requests' own choice."""
    return os.environ.get("SSL_CERT_FILE") or True


class _Registry(oras.provider.Registry):  # type: ignore[misc]
    """Without retries of its own, which take minutes and hide what was wrong: who asked tries again."""

    do_request = oras.provider.Registry.do_request.__wrapped__


def _manifest(registry: Any, container: Any) -> dict[str, Any]:
    url = f"{registry.prefix}://{container.manifest_url()}"
    answer = registry.do_request(url, "GET", headers={"Accept": ", ".join((*_MANIFESTS, *_INDEXES))})
    if answer.status_code == 404:
        raise FileNotFoundError(container.uri)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _for_platform(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    for found in manifests:
        platform = found.get("platform", {})
        if all(platform.get(key) == value for key, value in _PLATFORM.items()):
            return found
    return manifests[0]


def _name(number: int, layer: dict[str, Any]) -> str:
    """A path of a layer; those of archives sort as the layers do. Raises Invalid `UnsafeArchive` for a title outside.

    ORAS gives files that are no archives the type of one.
    """
    notes = layer.get("annotations") or {}
    media_type = layer.get("mediaType", "")
    packed = ("tar" in media_type and media_type != _ORAS_FILE) or notes.get(UNPACK) == "true"
    title = notes.get(TITLE)
    if title is None or packed:
        return f"{number:04}-{layer['digest'].partition(':')[2]}.tar.gz"
    path = PurePosixPath(title)
    if path.is_absolute() or ".." in path.parts:
        raise Invalid("UnsafeArchive", f"a layer has the title {title}, which leads out of the model; push it again")
    return str(path)


def _login(auths: dict[str, Any], host: str) -> tuple[str, str] | None:
    """From `.dockerconfigjson`; hosts may be written as URLs."""
    for name, given in auths.items():
        if name.removeprefix("https://").removeprefix("http://").split("/")[0] == host:
            if "auth" in given:
                user, _, password = base64.b64decode(given["auth"]).decode().partition(":")
                return user, password
            return given["username"], given["password"]
    return None
