"""Stores behind TLS whose authority is one's own: fetched where the environment names it, else refused."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
from servers import tls
from servers.registry import pushed
from servers.web import on_a_hub

pytestmark = pytest.mark.xdist_group("stores")

FETCH = """
import json, sys
from modelpress.api.errors import Invalid, Transient
from modelpress.storage import staging
try:
    top = staging.path_of(sys.argv[1], role="source", field="spec.source.uri")
    files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    print(json.dumps({path.name: path.read_text() for path in files}))
except (Invalid, Transient) as error:
    print(json.dumps([error.reason, error.field, str(error)]))
"""
"""In a process of its own: clients read the environment once."""


BUNDLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def fetched(uri, **environment):
    """Names and content of files, or reason, field and message."""
    others = {name: value for name, value in os.environ.items() if name not in BUNDLES}
    ran = subprocess.run(
        [sys.executable, "-c", FETCH, uri], env=others | environment, capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


MODEL = {"saved_model.pb": b"a graph", "model.index": b"an index"}
WHOLE = {name: data.decode() for name, data in MODEL.items()}
FILE = "saved_model.pb"


def of_a_web_server(request, secured):
    web = request.getfixturevalue("web")
    web.pages[f"/{FILE}"] = MODEL[FILE]
    return f"https://{secured(web.server.server_port)}/{FILE}", {}, {FILE: WHOLE[FILE]}


def of_a_hub(request, secured):
    web = request.getfixturevalue("web")
    on_a_hub(web, MODEL)
    return "hf://our/digits", {"HF_ENDPOINT": f"https://{secured(web.server.server_port)}"}, WHOLE


def of_a_registry(request, secured):
    port, folder = request.getfixturevalue("registry_port"), request.getfixturevalue("tmp_path")
    layers = [("application/octet-stream", name, data) for name, data in MODEL.items()]
    uri = pushed(port, "nets/secured:v1", layers, folder)
    return uri.replace(f"127.0.0.1:{port}", secured(port)), {}, WHOLE


def of_s3(request, secured):
    store, port = request.getfixturevalue("s3_store"), request.getfixturevalue("s3_port")
    for name, data in MODEL.items():
        store.put(f"digits/{name}", data)
    return f"{store.uri}/digits", store.secret | {"AWS_ENDPOINT_URL": f"https://{secured(port)}"}, WHOLE


STORES = {
    "https": (of_a_web_server, "SSL_CERT_FILE"),
    "hf": (of_a_hub, "SSL_CERT_FILE"),
    "oci": (of_a_registry, "SSL_CERT_FILE"),
    "s3": (of_s3, "AWS_CA_BUNDLE"),
}


@pytest.fixture(params=STORES)
def store(request, secret, tmp_path):
    """A model behind TLS: its URI, its files, the variable by which clients learn of authorities, and its authority."""
    make, variable = STORES[request.param]
    authority = tls.Authority(tmp_path, "ours")
    with contextlib.ExitStack() as stack:

        def secured(port):
            return f"127.0.0.1:{stack.enter_context(tls.before(port, authority.server('127.0.0.1')))}"

        uri, keys, files = make(request, secured)
        secret("source", keys)
        yield uri, files, variable, authority


def test_a_server_is_trusted_by_the_authority_that_the_environment_names(store):
    uri, files, variable, authority = store
    assert fetched(uri, **{variable: str(authority.file)}) == files


@pytest.mark.parametrize("known", ["none of ours", "another of ours"])
def test_a_server_of_an_unknown_authority_is_refused_with_the_cure(store, known, tmp_path):
    uri, _, variable, _ = store
    other = tls.Authority(tmp_path, "other").file
    reason, field, message = fetched(uri, **({variable: str(other)} if known == "another of ours" else {}))
    assert (reason, field) == ("UntrustedCertificate", "spec.source.uri")
    assert uri in message
    assert f"let {variable} name a file" in message


def test_a_certificate_of_another_host_is_not_trusted(web, tmp_path, secret):
    web.pages[f"/{FILE}"] = MODEL[FILE]
    authority = tls.Authority(tmp_path, "ours")
    with tls.before(web.server.server_port, authority.server("127.0.0.2")) as port:
        reason, _, message = fetched(f"https://127.0.0.1:{port}/{FILE}", SSL_CERT_FILE=str(authority.file))
    assert reason == "UntrustedCertificate"
    assert "IP address mismatch" in message
