"""TLS before a server that speaks none, with a certificate of an authority that nobody knows."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import shutil
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


class Authority:
    """An authority made for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named(name)
        own = _certificate(self._name, self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), self._key)
        self._folder = folder
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def server(self, address: str) -> ssl.SSLContext:
        """For a server at an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        signed = _certificate(_named(address), self._name, key, alternative, self._key)
        pem = self._folder / f"{address}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


@contextlib.contextmanager
def before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """A port that speaks TLS, and passes on to one that does not."""

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                client = stack.enter_context(context.wrap_socket(self.request, server_side=True))
                server = stack.enter_context(socket.create_connection((HOST, port)))
                asking = threading.Thread(target=_pass, args=(client, server))
                asking.start()
                _pass(server, client)
                asking.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((HOST, 0), Passing) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    """Until one of the two ends; then both."""
    with contextlib.suppress(OSError), source.makefile("rb", 0) as said, target.makefile("wb", 0) as told:
        shutil.copyfileobj(said, told)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
    signing: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
    return made.add_extension(extension, critical=True).sign(signing, hashes.SHA256())
