"""Remote stores behind fsspec: the client for a URI, and its failures in words for the user."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from modelpress.api.errors import Invalid, Transient
from modelpress.storage import credentials

READ_ONLY = ("http", "https", "hf", "oci")


class Unreachable(Transient):
    """A store that did not answer, or not well; it may later."""


class Place(NamedTuple):
    """Where a URI points to."""

    filesystem: Any
    """An fsspec AbstractFileSystem, blocking, without caches."""
    path: str
    """Within the filesystem."""


def opened(uri: str, *, role: str, field: str) -> Place:
    """The client for a URI, with the credentials of `role`. Raises Invalid `BadCredentials`, `ExtraRequired`."""
    scheme, _, rest = uri.partition("://")
    found = credentials.of(role, scheme)
    make = _FILESYSTEMS[scheme]
    try:
        filesystem = make(found)
    except ImportError as error:
        raise Invalid("ExtraRequired", f"{uri} needs {error.name}; install modelpress[remote]", field=field) from error
    except ValueError as error:
        raise Invalid(
            "BadCredentials", f"the credentials for {uri} cannot be used: {_safe(error, found)}", field=field
        ) from error
    return Place(filesystem, uri if scheme in ("http", "https") else rest.rstrip("/"))


@contextlib.contextmanager
def failures(uri: str, *, role: str, field: str) -> Iterator[None]:
    """Turns what clients raise into Invalid `NotFound`, `AccessDenied`, `UntrustedCertificate`, or Unreachable.

    No secret is in the text.
    """
    try:
        yield
    except (Invalid, TypeError, AttributeError, LookupError, AssertionError):
        raise
    except Exception as error:  # every client raises its own
        said = _safe(error, credentials.of(role, uri.partition("://")[0]))
        if _denied(error):
            raise Invalid(
                "AccessDenied",
                f"{uri} cannot be read or written: {said}; check the Secret that secretRef names, or the rights of the "
                "service account",
                field=field,
            ) from None
        untrusted = _untrusted(error)
        if untrusted is not None:
            # Before "nothing is there", which the client of web servers says of whatever went wrong.
            raise Invalid("UntrustedCertificate", _cure(uri, untrusted), field=field) from None
        if isinstance(error, FileNotFoundError):
            raise Invalid("NotFound", f"nothing is at {uri}; check the address", field=field) from None
        raise Unreachable("Unreachable", f"{uri} did not answer: {said}", field=field) from None


_LOGIN_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ClientAuthenticationError",
    "DefaultCredentialsError",
}


def _denied(error: BaseException) -> bool:
    if isinstance(error, PermissionError):
        return True
    names = {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}
    if names & _LOGIN_ERRORS:
        return True
    return any(_status(one) in (401, 403) for one in _chain(error))


def _untrusted(error: BaseException) -> str | None:
    """Why the server's certificate is not trusted; None where it is."""
    causes = (one for one in _chain(error) if isinstance(one, ssl.SSLCertVerificationError))
    # aiohttp's error is one as well, without what OpenSSL said.
    return next((one.verify_message for one in causes if hasattr(one, "verify_message")), None)


def _cure(uri: str, why: str) -> str:
    variable = "AWS_CA_BUNDLE" if uri.startswith("s3://") else "SSL_CERT_FILE"
    return (
        f"the certificate of the server of {uri} is not trusted: {why}; where its authority is your own, let "
        f"{variable} name a file of trusted authorities that holds it (in a cluster by spec.commonPod.volumes and env)"
    )


def _status(error: BaseException) -> int | None:
    for name in ("status", "status_code", "code"):
        found = getattr(error, name, None)
        if isinstance(found, int):
            return found
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _safe(error: BaseException, found: Mapping[str, str]) -> str:
    """The error's first line without any credential."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    for value in found.values():
        if len(value) > 3:
            text = text.replace(value, "***")
    return text


def _s3(found: Mapping[str, str]) -> Any:
    import s3fs

    region = found.get("AWS_REGION") or found.get("AWS_DEFAULT_REGION")
    return s3fs.S3FileSystem(
        key=found.get("AWS_ACCESS_KEY_ID"),
        secret=found.get("AWS_SECRET_ACCESS_KEY"),
        token=found.get("AWS_SESSION_TOKEN"),
        endpoint_url=found.get("AWS_ENDPOINT_URL"),
        client_kwargs={"region_name": region} if region else {},
        **_UNCACHED,
    )


def _gs(found: Mapping[str, str]) -> Any:
    # Not the experimental class of the same name, which asks a gRPC service that emulators and proxies do not have.
    from gcsfs.core import GCSFileSystem

    account = json.loads(found.get("GOOGLE_APPLICATION_CREDENTIALS_JSON", "null"))
    emulator = found.get("STORAGE_EMULATOR_HOST")
    return GCSFileSystem(
        # Only who lists or makes buckets needs a project, and gcsfs warns where it knows none.
        project=found.get("GOOGLE_CLOUD_PROJECT") or (account or {}).get("project_id", "-"),
        token=account or ("anon" if emulator else "google_default"),
        endpoint_url=emulator,
        **_UNCACHED,
    )


def _az(found: Mapping[str, str]) -> Any:
    import adlfs

    names = {
        "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
        "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
        "sas_token": "AZURE_STORAGE_SAS_TOKEN",
        "connection_string": "AZURE_STORAGE_CONNECTION_STRING",
        "client_id": "AZURE_CLIENT_ID",
        "client_secret": "AZURE_CLIENT_SECRET",
        "tenant_id": "AZURE_TENANT_ID",
    }
    given = {argument: found[key] for argument, key in names.items() if key in found}
    return adlfs.AzureBlobFileSystem(anon=False, **given, **_UNCACHED)


def _http(found: Mapping[str, str]) -> Any:
    from fsspec.implementations.http import HTTPFileSystem

    headers = {"Authorization": found["HTTP_AUTHORIZATION"]} if "HTTP_AUTHORIZATION" in found else {}
    return HTTPFileSystem(client_kwargs={"headers": headers}, **_UNCACHED)


def _hf(found: Mapping[str, str]) -> Any:
    from huggingface_hub import HfFileSystem

    return HfFileSystem(token=found.get("HF_TOKEN") or False, endpoint=found.get("HF_ENDPOINT"), **_UNCACHED)


def _oci(found: Mapping[str, str]) -> Any:
    from modelpress.storage.oci import RegistryFileSystem

    return RegistryFileSystem(
        docker_config=found.get(".dockerconfigjson"),
        username=found.get("OCI_USERNAME"),
        password=found.get("OCI_PASSWORD"),
        plain_http=found.get("OCI_PLAIN_HTTP", "").lower() == "true",
        **_UNCACHED,
    )


_UNCACHED = {"skip_instance_cache": True, "use_listings_cache": False}
_FILESYSTEMS: Mapping[str, Callable[[Mapping[str, str]], Any]] = {
    "s3": _s3,
    "gs": _gs,
    "az": _az,
    "http": _http,
    "https": _http,
    "hf": _hf,
    "oci": _oci,
}
SCHEMES = tuple(_FILESYSTEMS)
