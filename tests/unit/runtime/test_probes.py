"""What the kubelet asks."""

from __future__ import annotations

from modelpress.runtime import probes


def test_loading_may_take_as_long_as_a_rollout() -> None:
    probe = probes.server_startup(8502, deadline_seconds=601)
    assert probe["failureThreshold"] * probe["periodSeconds"] == 605


def test_the_servers_rest_port_is_never_sent_a_request() -> None:
    assert all(
        "httpGet" not in probe for probe in (probes.server_startup(1, deadline_seconds=9), probes.server_liveness(1))
    )


def test_only_readiness_asks_for_the_model() -> None:
    assert probes.sidecar_readiness(9090)["httpGet"]["path"] == "/readyz"
    assert (
        probes.sidecar_startup(9090)["httpGet"]["path"]
        == probes.sidecar_liveness(9090)["httpGet"]["path"]
        == "/healthz"
    )
