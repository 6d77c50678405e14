"""Real stores on loopback: versitygw, fake-gcs-server, Azurite, a registry; started once for all tests of the group."""

from __future__ import annotations

import base64
import contextlib
import datetime
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from modelpress.server import ports

sys.path.insert(0, str(Path(__file__).parent))

from servers import programs
from servers.web import Web
from testbed.controlplane import dies_with

READY_SECONDS = 60
BUCKET = "models"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = base64.b64encode(b"a key of a store for tests only!" * 2).decode()
WRONG_KEY = base64.b64encode(b"another key of a store for tests" * 2).decode()


class RemoteStore(NamedTuple):
    """A running store with a bucket of its own for one test."""

    uri: str
    """Of the bucket, such as `s3://b-1`."""
    secret: dict[str, str]
    """Keys and values of a Secret that may read and write."""
    wrong: dict[str, str]
    """Such a Secret with another password; empty where the server takes anything."""
    put: Callable[[str, bytes], None]
    """Writes an object by the vendor's own client."""


@contextlib.contextmanager
def started(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[None]:
    """A server that answers HTTP on its port, ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            cwd=folder,
            preexec_fn=dies_with(os.getpid()),
        )
    try:
        _await(process, port, folder / "log")
        yield
    finally:
        process.terminate()
        process.wait()


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{process.args} does not answer: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def commands() -> dict[str, list[str]]:
    return programs.programs()


@pytest.fixture(scope="session")
def s3_port(commands, tmp_path_factory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("s3"), ports.unused()
    (folder / "objects").mkdir()
    command = [
        *commands["versitygw"],
        "--port",
        f"127.0.0.1:{port}",
        "--access",
        "reader",
        "--secret",
        "s3cr3t-password",
    ]
    with started([*command, "posix", str(folder / "objects")], port, folder):
        yield port


@pytest.fixture(scope="session")
def gs_port(commands, tmp_path_factory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("gs"), ports.unused()
    flags = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "filesystem"]
    flags += ["-filesystem-root", str(folder / "objects"), "-external-url", f"http://127.0.0.1:{port}"]
    with started([*commands["fake-gcs-server"], *flags], port, folder):
        yield port


@pytest.fixture(scope="session")
def az_port(commands, tmp_path_factory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("az"), ports.unused()
    flags = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    flags += ["--skipApiVersionCheck", "--disableTelemetry"]
    with started([*commands["azurite"], *flags], port, folder, AZURITE_ACCOUNTS=f"{ACCOUNT}:{ACCOUNT_KEY}"):
        yield port


@pytest.fixture(scope="session")
def registry_port(commands, tmp_path_factory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("registry"), ports.unused()
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with started(
        [*commands["registry"], "serve", str(folder / "config.yml")], port, folder, OTEL_TRACES_EXPORTER="none"
    ):
        yield port


def s3(request: pytest.FixtureRequest, bucket: str) -> RemoteStore:
    import botocore.session

    endpoint = f"http://127.0.0.1:{request.getfixturevalue('s3_port')}"
    secret = {
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t-password",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="reader",
        aws_secret_access_key="s3cr3t-password",
    )
    client.create_bucket(Bucket=bucket)
    return RemoteStore(
        f"s3://{bucket}",
        secret,
        secret | {"AWS_SECRET_ACCESS_KEY": "wr0ng-password"},
        lambda name, content: client.put_object(Bucket=bucket, Key=name, Body=content),
    )


def gs(request: pytest.FixtureRequest, bucket: str) -> RemoteStore:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    endpoint = f"http://127.0.0.1:{request.getfixturevalue('gs_port')}"
    client = storage.Client(
        project="tests", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )
    made = client.create_bucket(bucket)
    return RemoteStore(
        f"gs://{bucket}",
        {"STORAGE_EMULATOR_HOST": endpoint},
        {},
        lambda name, content: made.blob(name).upload_from_string(content),
    )


def az(request: pytest.FixtureRequest, bucket: str) -> RemoteStore:
    from azure.storage.blob import ContainerClient

    def connection(key: str) -> str:
        endpoint = f"http://127.0.0.1:{request.getfixturevalue('az_port')}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"

    container = ContainerClient.from_connection_string(connection(ACCOUNT_KEY), bucket)
    container.create_container()
    return RemoteStore(
        f"az://{bucket}",
        {"AZURE_STORAGE_CONNECTION_STRING": connection(ACCOUNT_KEY)},
        {"AZURE_STORAGE_CONNECTION_STRING": connection(WRONG_KEY)},
        lambda name, content: container.upload_blob(name, content, overwrite=True),
    )


class AzureByName(NamedTuple):
    """A container that is reached as in Azure: by the account's name, and a key or a signature."""

    uri: str
    account: str
    keys: dict[str, dict[str, str]]
    """What a Secret holds beside the name, by kind."""
    wrong: dict[str, dict[str, str]]
    put: Callable[[str, bytes], None]


@pytest.fixture
def azurite_by_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AzureByName:
    """A container of Azurite, which the name of the account's host leads to."""
    import adlfs.spec
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    port, container = request.getfixturevalue("az_port"), f"b{os.urandom(6).hex()}"
    made = az(request, container)
    connect = adlfs.spec._create_aio_blob_service_client

    def here(account_url: str, **options: object) -> object:
        host = f"https://{ACCOUNT}.blob.core.windows.net"
        assert account_url.startswith(host)
        return connect(account_url=account_url.replace(host, f"http://127.0.0.1:{port}/{ACCOUNT}"), **options)

    def signature(key: str) -> dict[str, str]:
        signed = generate_container_sas(
            ACCOUNT,
            container,
            account_key=key,
            permission=ContainerSasPermissions(read=True, list=True),
            expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1),
        )
        return {"AZURE_STORAGE_SAS_TOKEN": signed}

    monkeypatch.setattr(adlfs.spec, "_create_aio_blob_service_client", here)
    return AzureByName(
        made.uri,
        ACCOUNT,
        {"key": {"AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY}, "sas": signature(ACCOUNT_KEY)},
        {"key": {"AZURE_STORAGE_ACCOUNT_KEY": WRONG_KEY}, "sas": signature(WRONG_KEY)},
        made.put,
    )


STORES = {"s3": s3, "gs": gs, "az": az}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> RemoteStore:
    """An empty bucket in each of the stores."""
    return STORES[request.param](request, f"b{os.urandom(6).hex()}")


@pytest.fixture
def s3_store(request: pytest.FixtureRequest) -> RemoteStore:
    """An empty bucket in S3."""
    return s3(request, f"b{os.urandom(6).hex()}")


@pytest.fixture(params=["az", "s3"])
def guarded_store(request: pytest.FixtureRequest) -> RemoteStore:
    """An empty bucket in each of the stores that look at passwords."""
    return STORES[request.param](request, f"b{os.urandom(6).hex()}")


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Mounts a Secret for a role, as a Job has it; the process itself has no credentials."""
    root = tmp_path / "secrets"
    monkeypatch.setenv("MODELPRESS_SECRETS_ROOT", str(root))
    monkeypatch.setenv("MODELPRESS_STAGING", str(tmp_path / "staging"))

    def mount(role: str, content: dict[str, str]) -> None:
        (root / role).mkdir(parents=True, exist_ok=True)
        for key, value in content.items():
            (root / role / key).write_text(value)

    return mount


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()
