"""How the server's container starts and stops.

Its image has bash and little else, and the server ignores SIGTERM as PID 1.
"""

from __future__ import annotations

BINARY = "tensorflow_model_server"
BATCHING_VARIABLE = "BATCHING_PARAMETERS"
BATCHING_FILE = "/tmp/batching.pbtxt"  # noqa: S108 - an emptyDir of the container's own

_PREPARE = f'if [ -n "${{{BATCHING_VARIABLE}:-}}" ]; then printf %s "${BATCHING_VARIABLE}" > {BATCHING_FILE}; fi'
_FORWARD = f"""{_PREPARE}
stopped= server=
trap 'stopped=1; [ -z "$server" ] || kill -TERM "$server" 2>/dev/null' TERM INT
{BINARY} "$@" &
server=$!
[ -z "$stopped" ] || kill -TERM "$server" 2>/dev/null
wait "$server"; status=$?
while kill -0 "$server" 2>/dev/null; do wait "$server"; status=$?; done
[ -n "$stopped" ] && exit 0
exit "$status"
"""
_REPLACE = f'{_PREPARE}\nexec {BINARY} "$@"\n'


def forwarding(flags: tuple[str, ...]) -> list[str]:
    """Run the server below a shell that hands TERM on: without it the pod would only end by KILL."""
    return ["/bin/bash", "-c", _FORWARD, BINARY, *flags]


def replacing(flags: tuple[str, ...]) -> list[str]:
    """Run the server in place of the shell: for pods with a shared process namespace, where it is not PID 1."""
    return ["/bin/bash", "-c", _REPLACE, BINARY, *flags]


def wait_for_drain(admin_port: int) -> list[str]:
    """Return once the sidecar of this pod is idle: it answers GET /drain then. A sidecar that is gone is idle."""
    request = r"GET /drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    connect = f"trap '' PIPE; exec 3<>/dev/tcp/127.0.0.1/{admin_port} || exit 0"
    script = f"{connect}; printf '{request}' >&3; read -r -u 3 line; exit 0"
    return ["/bin/bash", "-c", script]
