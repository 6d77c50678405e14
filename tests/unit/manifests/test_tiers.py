"""What spec.cache gives to the pods that serve."""

from __future__ import annotations

import pytest

from modelpress.api import request as requests
from modelpress.manifests import jobs, serving, tiers

REDIS = {"redis": {"urlSecretRef": {"name": "cache-url", "key": "uri"}}}
DISK = {"disk": {"size": "2Gi"}}
PREFETCH = {"prefetch": {"uri": "pvc://data/common.npz", "secretRef": {"name": "data"}}}
MIB = 2**20


@pytest.fixture
def pod(a_model, a_servable):
    """The pod of a model with such a cache."""

    def make(name: str | None = None, **cache):
        model = a_model(cache=cache)
        deployment = serving.deployment(model, a_servable(model)._replace(prefetch=name), replicas=1)
        return deployment["spec"]["template"]["spec"]

    return make


def container(pod, name):
    return next(one for one in (*pod["initContainers"], *pod["containers"]) if one["name"] == name)


def mounted(container):
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def test_without_tiers_nothing_is_added(pod):
    sidecar = container(pod(), "sidecar")
    assert not [flag for flag in sidecar["command"] if flag.startswith(("--disk", "--redis", "--prefetch"))]
    assert {"cache", "redis", "models"}.isdisjoint(mounted(sidecar))


def test_the_disk_tier_is_a_bounded_volume_that_goes_with_the_pod(pod):
    found = pod(**DISK)
    sidecar = container(found, "sidecar")
    assert {"name": "cache", "emptyDir": {"sizeLimit": str(2048 * MIB + tiers.SLACK)}} in found["volumes"]
    assert mounted(sidecar)["cache"]["mountPath"] == tiers.DISK
    assert f"--disk-dir={tiers.DISK}" in sidecar["command"]


def test_the_scheduler_is_told_of_disk_and_memory(pod, a_model):
    plain, rich = (container(pod(**cache), "sidecar")["resources"] for cache in ({}, {**DISK, **REDIS}))
    assert rich["requests"]["ephemeral-storage"] == str(2048 * MIB + tiers.SLACK)
    assert "ephemeral-storage" not in rich["limits"]
    for amounts in ("requests", "limits"):
        assert int(rich[amounts]["memory"]) - int(plain[amounts]["memory"]) == 2 * tiers.TIER_MEMORY


def test_a_limit_of_the_users_on_storage_grows_with_the_disk_tier(a_model):
    limits = {"memory": "256Mi", "ephemeral-storage": "1Gi"}
    model = a_model(cache=DISK, serving={"sidecar": {"resources": {"requests": {}, "limits": limits}}})
    assert tiers.resources(model).limits["ephemeral-storage"] == str(3072 * MIB + tiers.SLACK)


def test_the_url_of_redis_is_a_file_and_never_a_variable_or_argument(pod):
    found = pod(**REDIS)
    sidecar = container(found, "sidecar")
    secret = {"secretName": "cache-url", "items": [{"key": "uri", "path": "url"}], "defaultMode": 0o440}
    assert {"name": "redis", "secret": secret} in found["volumes"]
    assert f"--redis-url-file={tiers.REDIS}/url" in sidecar["command"]
    assert mounted(sidecar)["redis"]["readOnly"]
    assert [one["name"] for one in (*found["initContainers"], *found["containers"]) if "redis" in mounted(one)] == [
        "sidecar"
    ]
    assert "cache-url" not in str(sidecar["env"])


def test_common_requests_are_fetched_with_the_model(pod):
    found = pod("abc")
    assert "--prefetch=abc" in container(found, "fetch")["command"]
    sidecar = container(found, "sidecar")
    assert "--prefetch-file=/models/.prefetch/requests.tfrecord" in sidecar["command"]
    assert mounted(sidecar)["models"]["readOnly"]


def test_the_job_reads_the_common_requests_and_pods_do_not(a_model, a_request, installation, pod):
    model = a_model(cache=PREFETCH)
    request = a_request(model)
    job = jobs.compress(model, request, requests.request_key(request), installation)
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert "secret-prefetch" in [volume["name"] for volume in volumes]
    assert "data" in [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in volumes]
    served = pod("abc", **PREFETCH)
    assert "secret-prefetch" not in [volume["name"] for volume in served["volumes"]]


def test_other_common_requests_ask_the_job_and_no_other_artifact(a_model, a_request):
    without, with_some = a_request(a_model()), a_request(a_model(cache=PREFETCH))
    keys = [requests.artifact_key(one, source_digest="s", data_digests={}) for one in (without, with_some)]
    assert keys[0] == keys[1]
    assert requests.request_key(without) != requests.request_key(with_some)
    assert requests.prefetch_key(without) is None


def test_another_secret_for_the_same_requests_changes_nothing(a_model, a_request):
    other = {"prefetch": {"uri": "pvc://data/common.npz"}}
    first, second = a_request(a_model(cache=PREFETCH)), a_request(a_model(cache=other))
    assert requests.request_key(first) == requests.request_key(second)
    assert requests.prefetch_key(first) == requests.prefetch_key(second)
