"""Models from web servers, Hugging Face hubs and OCI registries."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
import requests
from servers.registry import pushed
from servers.web import Web, on_a_hub

from modelpress.api.errors import Invalid
from modelpress.storage import staging

pytestmark = pytest.mark.xdist_group("stores")

MODEL = {"saved_model.pb": b"a graph", "variables/variables.index": b"an index"}


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def source(uri: str) -> Path:
    return staging.path_of(uri, role="source", field="spec.source.uri")


def tarred(files: dict[str, bytes | str]) -> bytes:
    """A tar file; strings are links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                archive.addfile(member)
                continue
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_a_file_of_a_web_server(web, secret):
    web.pages["/nets/digits.keras"] = b"zip"
    path = source(f"{web.url}/nets/digits.keras")
    assert (path.name, path.read_bytes()) == ("digits.keras", b"zip")


def downloads(web: Web) -> int:
    return sum(command == "GET" for command, _, _ in web.asked)


@pytest.mark.parametrize("header", ["ETag", "Last-Modified", "Content-MD5", "Digest"])
def test_a_web_server_may_tell_a_change_by_any_header(web, secret, header):
    web.stamp = lambda page: {header: f"of {page.decode()}"}
    web.pages["/digits.keras"] = b"old"
    assert [source(f"{web.url}/digits.keras").read_bytes() for _ in range(2)] == [b"old", b"old"]
    assert downloads(web) == 1
    web.pages["/digits.keras"] = b"new"
    assert source(f"{web.url}/digits.keras").read_bytes() == b"new"


def test_where_a_web_server_tells_no_change_every_run_downloads_again(web, secret, monkeypatch):
    def run() -> Path:
        monkeypatch.setattr(staging, "_again", {})
        return {source(f"{web.url}/digits.keras") for _ in range(2)}.pop()

    web.stamp = lambda page: {}
    web.pages["/digits.keras"] = b"old"
    first = run()
    assert run() == first
    assert downloads(web) == 2
    web.pages["/digits.keras"] = b"new"
    assert run().read_bytes() == b"new"
    assert first.read_bytes() == b"old"


@pytest.mark.parametrize(("name", "pack"), [("model.tar.gz", tarred), ("model.zip", zipped)])
def test_an_archive_is_unpacked_and_its_only_folder_is_the_model(web, secret, name, pack):
    web.pages[f"/{name}"] = pack({f"digits/{path}": data for path, data in MODEL.items()})
    assert content(source(f"{web.url}/{name}")) == MODEL


def test_a_web_server_may_want_a_header(web, secret):
    web.pages["/digits.keras"] = b"zip"
    web.password = "Bearer t0ken"
    secret("source", {"HTTP_AUTHORIZATION": "Bearer wr0ng"})
    with pytest.raises(Invalid, match="check the Secret") as refused:
        source(f"{web.url}/digits.keras")
    assert refused.value.reason == "AccessDenied"
    assert "wr0ng" not in str(refused.value)
    secret("source", {"HTTP_AUTHORIZATION": "Bearer t0ken"})
    assert source(f"{web.url}/digits.keras").read_bytes() == b"zip"


@pytest.mark.parametrize(
    "archive",
    [
        ("model.tar.gz", tarred({"../outside": b"x"})),
        ("model.zip", zipped({"../outside": b"x"})),
        ("model.zip", zipped({"zeros": bytes(2**28)})),
        ("model.tar.gz", gzip.compress(gzip.decompress(tarred({"zeros": bytes(2**28)})))),
    ],
    ids=["tar: out", "zip: out", "zip: bomb", "tar: bomb"],
)
def test_unsafe_archives_are_not_unpacked(web, secret, tmp_path, archive):
    name, packed = archive
    web.pages[f"/{name}"] = packed
    with pytest.raises(Invalid, match="is not unpacked") as refused:
        source(f"{web.url}/{name}")
    assert refused.value.reason == "UnsafeArchive"
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside", "zeros")]


def test_an_archive_that_is_none_is_told(web, secret):
    web.pages["/model.tar.gz"] = b"<html>please log in</html>"
    with pytest.raises(Invalid, match=r"model\.tar\.gz cannot be unpacked") as refused:
        source(f"{web.url}/model.tar.gz")
    assert refused.value.reason == "NotAnArchive"


def test_a_revision_and_a_folder_of_a_hub(web, secret):
    older = MODEL | {"saved_model.pb": b"an older graph"}
    on_a_hub(web, MODEL, "main", "nets/small")
    on_a_hub(web, older, "v1", "nets/small")
    secret("source", {"HF_ENDPOINT": web.url})
    assert content(source("hf://our/digits/nets/small")) == MODEL
    assert content(source("hf://our/digits@v1/nets/small")) == older


def test_a_model_of_a_hub(web, secret):
    on_a_hub(web, MODEL)
    secret("source", {"HF_ENDPOINT": web.url, "HF_TOKEN": "hf_t0ken"})
    assert content(source("hf://our/digits")) == MODEL
    assert {token for _, path, token in web.asked if "resolve" in path} == {"Bearer hf_t0ken"}


def test_an_oras_artifact_whose_layers_are_files(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layers = [("application/octet-stream", name, data) for name, data in MODEL.items()]
    assert content(source(pushed(registry_port, "nets/digits:v1", layers, tmp_path))) == MODEL


def test_an_image_that_holds_the_model_in_models(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layer = tarred({f"models/digits/{name}": data for name, data in MODEL.items()})
    layers = [("application/vnd.oci.image.layer.v1.tar+gzip", None, layer)]
    assert content(source(pushed(registry_port, "nets/image:v1", layers, tmp_path))) == MODEL


ORAS_FILE = "application/vnd.oci.image.layer.v1.tar"
LAYER = f"{ORAS_FILE}+gzip"


def test_files_that_oras_pushes_are_files_though_it_calls_them_tar(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layers = [(ORAS_FILE, name, data) for name, data in MODEL.items()]
    assert content(source(pushed(registry_port, "nets/files:v1", layers, tmp_path))) == MODEL


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_layers_of_an_image_lie_on_each_other_as_its_manifest_says(registry_port, secret, tmp_path, order):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layers = [(LAYER, None, tarred({"models/digits/saved_model.pb": name.encode()})) for name in order]
    found = source(pushed(registry_port, f"nets/layers:{order}", layers, tmp_path))
    assert content(found) == {"saved_model.pb": order[-1].encode()}


def test_of_an_image_only_the_model_is_unpacked_without_what_a_layer_removed(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    files = [
        {"bin/busybox": b"ELF", "bin/sh": "/bin/busybox"},
        {f"models/{name}": data for name, data in (MODEL | {"old": b"old"}).items()},
        {"models/.wh.old": b""},
    ]
    layers = [(LAYER, None, tarred(layer)) for layer in files]
    assert content(source(pushed(registry_port, "nets/alpine:v1", layers, tmp_path))) == MODEL


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MANY = "http://127.0.0.1:{}/v2/nets/many/manifests/{}"


def digest_of(uri: str) -> str:
    """What the registry calls a manifest."""
    registry, _, repository = uri.removeprefix("oci://").partition("/")
    name, _, tag = repository.rpartition(":")
    found = requests.head(f"http://{registry}/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST})
    return str(found.headers["Docker-Content-Digest"])


def of_layer(data: bytes) -> list[tuple[str, str | None, bytes]]:
    return [(LAYER, None, tarred({"models/digits/saved_model.pb": data}))]


def test_a_digest_names_an_image_that_a_tag_has_left(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    tagged = pushed(registry_port, "nets/moved:v1", of_layer(b"old"), tmp_path)
    digest = digest_of(tagged)
    pushed(registry_port, "nets/moved:v1", of_layer(b"new"), tmp_path)
    pinned = f"{tagged.removesuffix(':v1')}@{digest}"
    assert content(source(pinned)) == {"saved_model.pb": b"old"}
    assert content(source(tagged)) == {"saved_model.pb": b"new"}


def test_of_an_image_for_several_platforms_that_of_linux_on_amd64_is_taken(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    platforms = [("linux", "arm64"), ("windows", "amd64"), ("linux", "amd64")]
    listed = []
    for system, architecture in platforms:
        one = pushed(registry_port, "nets/many:one", of_layer(f"{system} {architecture}".encode()), tmp_path)
        about = {"os": system, "architecture": architecture}
        size = len(requests.get(MANY.format(registry_port, "one"), headers={"Accept": MANIFEST}).content)
        listed.append({"mediaType": MANIFEST, "digest": digest_of(one), "size": size, "platform": about})
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": listed})
    requests.put(MANY.format(registry_port, "v1"), data=index, headers={"Content-Type": kind}).raise_for_status()
    found = source(f"oci://127.0.0.1:{registry_port}/nets/many:v1")
    assert content(found) == {"saved_model.pb": b"linux amd64"}


def test_an_artifact_that_is_not_there(registry_port, secret):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    with pytest.raises(Invalid, match="nothing is at oci") as refused:
        source(f"oci://127.0.0.1:{registry_port}/nets/nothing:v1")
    assert refused.value.reason == "NotFound"


@pytest.mark.parametrize("kind", ["docker-registry", "generic"])
def test_a_pull_secret_opens_a_registry(web, secret, kind):
    """A Secret as `kubectl create secret` makes it becomes the header that the registry wants."""
    host = web.url.removeprefix("http://")
    auth = base64.b64encode(b"me:s3cr3t").decode()
    web.password = f"Basic {auth}"
    web.pages["/v2/nets/digits/manifests/v1"] = json.dumps({"layers": []}).encode()
    pull = {".dockerconfigjson": json.dumps({"auths": {host: {"auth": auth}}})}
    given = {"docker-registry": pull, "generic": {"OCI_USERNAME": "me", "OCI_PASSWORD": "s3cr3t"}}[kind]
    secret("source", {"OCI_PLAIN_HTTP": "true", **given})
    with pytest.raises(Invalid, match="nothing is at oci"):
        source(f"oci://{host}/nets/digits:v1")
    assert web.asked[-1][2] == f"Basic {auth}"
