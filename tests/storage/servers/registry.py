"""Artifacts for a registry of the tests, which speaks no TLS."""

from __future__ import annotations

from pathlib import Path


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
