"""A web server of the tests, and what makes a hub of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote


class Web:
    """A web server: paths with their content, and who asked for what."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.password: str | None = None
        self.stamp: Callable[[bytes], dict[str, str]] = lambda page: {"ETag": f'"{hash(page)}"'}
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
                    for name, value in web.stamp(page).items():
                        self.send_header(name, value)
                    self.send_header("X-Repo-Commit", "0" * 40)
                self.end_headers()
                if page is not None and not denied and self.command == "GET":
                    self.wfile.write(page)

            do_HEAD = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def on_a_hub(web: Web, files: dict[str, bytes], revision: str = "main", folder: str = "") -> None:
    """A folder of the repository `our/digits` as it is in one revision."""
    named = {f"{folder}/{name}".strip("/"): data for name, data in files.items()}
    web.pages |= {f"/our/digits/resolve/{revision}/{name}": data for name, data in named.items()}
    listed = [
        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for name, data in named.items()
    ]
    about = {"id": "our/digits", "sha": "0" * 40, "siblings": [{"rfilename": name} for name in named]}
    web.pages["/api/models/our/digits"] = json.dumps(about).encode()
    web.pages[f"/api/models/our/digits/revision/{revision}"] = json.dumps(about).encode()
    top = f"/api/models/our/digits/tree/{revision}/{quote(folder, safe='')}".rstrip("/")
    for recursive in ("true", "True"):
        web.pages[f"{top}?recursive={recursive}&expand=false"] = json.dumps(listed).encode()
