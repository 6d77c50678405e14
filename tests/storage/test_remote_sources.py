"""Models from web servers, Hugging Face hubs and OCI registries."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelpress.api.errors import Invalid
from modelpress.storage import staging

pytestmark = pytest.mark.xdist_group("stores")

MODEL = {"saved_model.pb": b"a graph", "variables/variables.index": b"an index"}


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def source(uri: str) -> Path:
    return staging.path_of(uri, role="source", field="spec.source.uri")


def tarred(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


class Web:
    """A web server: paths with their content, and who asked for what."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.password: str | None = None
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append((self.command, self.path, self.headers["Authorization"]))
                page = web.pages.get(self.path)
                denied = web.password is not None and self.headers["Authorization"] != web.password
                self.send_response(401 if denied else 404 if page is None else 200)
                if denied:
                    self.send_header("WWW-Authenticate", 'Basic realm="models"')
                if page is None or denied:
                    self.send_header("Content-Length", "0")
                else:
                    self.send_header("Content-Length", str(len(page)))
                    self.send_header("ETag", f'"{hash(page)}"')
                    self.send_header("X-Repo-Commit", "0" * 40)
                self.end_headers()
                if page is not None and not denied and self.command == "GET":
                    self.wfile.write(page)

            do_HEAD = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


def test_a_file_of_a_web_server(web, secret):
    web.pages["/nets/digits.keras"] = b"zip"
    path = source(f"{web.url}/nets/digits.keras")
    assert (path.name, path.read_bytes()) == ("digits.keras", b"zip")


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


def test_a_model_of_a_hub(web, secret):
    web.pages |= {f"/our/digits/resolve/main/{name}": data for name, data in MODEL.items()}
    listed = [
        {"type": "file", "path": name, "size": len(data), "oid": f"{number:040}"}
        for number, (name, data) in enumerate(MODEL.items())
    ]
    about = {"id": "our/digits", "sha": "0" * 40, "siblings": [{"rfilename": name} for name in MODEL]}
    web.pages["/api/models/our/digits"] = json.dumps(about).encode()
    web.pages["/api/models/our/digits/revision/main"] = json.dumps(about).encode()
    for recursive in ("true", "True"):
        web.pages[f"/api/models/our/digits/tree/main?recursive={recursive}&expand=false"] = json.dumps(listed).encode()
    secret("source", {"HF_ENDPOINT": web.url, "HF_TOKEN": "hf_t0ken"})
    assert content(source("hf://our/digits")) == MODEL
    assert {token for _, path, token in web.asked if "resolve" in path} == {"Bearer hf_t0ken"}


def pushed(registry_port: int, reference: str, layers: list[tuple[str, str | None, bytes]], folder: Path) -> str:
    """Pushes layers (media type, title, content) as an OCI artifact; its `oci://` URI."""
    import oras.defaults
    import oras.oci
    import oras.provider

    registry = oras.provider.Registry(hostname=f"127.0.0.1:{registry_port}", insecure=True)
    container = registry.get_container(f"127.0.0.1:{registry_port}/{reference}")
    manifest = oras.oci.NewManifest()
    for number, (media_type, title, data) in enumerate(layers):
        path = folder / f"layer-{number}"
        path.write_bytes(data)
        layer = oras.oci.NewLayer(str(path), media_type, is_dir=False)
        layer["annotations"] = {"org.opencontainers.image.title": title} if title else {}
        registry.upload_blob(str(path), container, layer)
        manifest["layers"].append(layer)
    config, _ = oras.oci.ManifestConfig()
    empty = folder / "config"
    empty.write_bytes(b"{}")
    config |= {"digest": oras.oci.NewLayer(str(empty), "application/json", is_dir=False)["digest"], "size": 2}
    registry.upload_blob(str(empty), container, config)
    manifest["config"] = config
    registry.upload_manifest(manifest, container).raise_for_status()
    return f"oci://127.0.0.1:{registry_port}/{reference}"


def test_an_oras_artifact_whose_layers_are_files(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layers = [("application/octet-stream", name, data) for name, data in MODEL.items()]
    assert content(source(pushed(registry_port, "nets/digits:v1", layers, tmp_path))) == MODEL


def test_an_image_that_holds_the_model_in_models(registry_port, secret, tmp_path):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    layer = tarred({f"models/digits/{name}": data for name, data in MODEL.items()})
    layers = [("application/vnd.oci.image.layer.v1.tar+gzip", None, layer)]
    assert content(source(pushed(registry_port, "nets/image:v1", layers, tmp_path))) == MODEL


def test_an_artifact_that_is_not_there(registry_port, secret):
    secret("source", {"OCI_PLAIN_HTTP": "true"})
    with pytest.raises(Invalid, match="nothing is at oci") as refused:
        source(f"oci://127.0.0.1:{registry_port}/nets/nothing:v1")
    assert refused.value.reason == "NotFound"


def test_a_pull_secret_opens_a_registry(web, secret):
    """A Secret as `kubectl create secret docker-registry` makes it becomes the header that the registry wants."""
    host = web.url.removeprefix("http://")
    auth = base64.b64encode(b"me:s3cr3t").decode()
    web.password = f"Basic {auth}"
    web.pages["/v2/nets/digits/manifests/v1"] = json.dumps({"layers": []}).encode()
    secret("source", {"OCI_PLAIN_HTTP": "true", ".dockerconfigjson": json.dumps({"auths": {host: {"auth": auth}}})})
    with pytest.raises(Invalid, match="nothing is at oci"):
        source(f"oci://{host}/nets/digits:v1")
    assert web.asked[-1][2] == f"Basic {auth}"
