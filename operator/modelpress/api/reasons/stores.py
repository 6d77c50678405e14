"""Reasons why something cannot be read from a store or written to it."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason, Section

_BOTH = "compress and evaluate Jobs, `run`"
_COMPRESS = "compress Job, `run`"
_EVALUATE = "evaluate Job, `run`"
_PODS = "`fetch`: evaluate Job, serving pods, `run`"

_REMOTE = (
    Reason(
        "AccessDenied",
        f"{_BOTH}, serving pods",
        "A remote store refuses the credentials, or there are none.",
        "Correct the Secret that the `secretRef` beside the URI names, or the rights of the service account.",
    ),
    Reason(
        "BadCredentials",
        f"{_BOTH}, serving pods",
        "A value in a Secret cannot be used, such as a JSON that is none.",
        "Correct the Secret.",
    ),
    Reason(
        "UntrustedCertificate",
        f"{_BOTH}, serving pods",
        "A remote store's certificate is of an authority that is not trusted, of another host, or expired.",
        "Let `SSL_CERT_FILE` (for s3 `AWS_CA_BUNDLE`) name a file of trusted authorities with its own; in a cluster by "
        "`spec.commonPod.volumes` and `env`.",
    ),
    Reason(
        "Unreachable",
        f"{_BOTH}, serving pods",
        "A remote store did not answer, or answered with an error of its own. The Job is tried again.",
        "Check its address (`AWS_ENDPOINT_URL` and the like in the Secret), DNS and proxies.",
    ),
    Reason(
        "ReadOnlyStore",
        f"`spec.artifacts.uri`; {_BOTH}",
        "Artifacts cannot be written to http, https, hf or oci.",
        "Use s3, gs, az or `pvc://<claim>/<path>`.",
    ),
    Reason(
        "UnsafeArchive",
        _COMPRESS,
        "An archive has entries or links that lead out of it, entries behind links, or unpacks to far more than it "
        "packs.",
        "Give the model unpacked, or pack it again.",
    ),
    Reason(
        "NotAnArchive",
        _COMPRESS,
        "A file with the name of an archive (.tar.gz, .zip) cannot be unpacked.",
        "Pack or upload it again.",
    ),
    Reason(
        "ExtraRequired",
        "`run`, `compress`, `fetch` outside of our images",
        "The client of a remote store is not installed.",
        "Install `modelpress[remote]`.",
    ),
)

_STORE = (
    Reason(
        "StorageFull",
        f"{_BOTH}, serving pods",
        "No space, or no quota, is left. The Job is tried again; finished parts are kept.",
        "Free some, enlarge `spec.artifacts.volume.size`, or name a larger store.",
    ),
    Reason(
        "DigestMismatch",
        f"{_COMPRESS}; {_PODS}",
        "Content is not what its digest says: another model than the pinned one, or files that changed.",
        "Restore the content or change `spec.source.digest`; compress again where it lies in the store.",
    ),
    Reason(
        "ArtifactMissing",
        f"evaluate Job; {_PODS}",
        "The store holds no such artifact, or not all of it.",
        "Restore the store, or compress again: set `modelpress.dev/reconcile-requested-at`.",
    ),
    Reason(
        "CandidateMissing",
        "evaluate Job",
        "The artifact has no candidate of that number.",
        "Delete the Job; the operator makes it again. By hand, take a number that the message names.",
    ),
    Reason(
        "InvalidListing",
        _PODS,
        "The manifest lists a file outside of its artifact: it was tampered with.",
        "Find out who writes to the store; compress into a clean one.",
    ),
    Reason(
        "InvalidLocation",
        f"{_BOTH}, serving pods",
        "A URI names no claim, a host, or `..`.",
        "Write `pvc://<claim>/<path>` or `file:///<path>`.",
    ),
    Reason(
        "InvalidRequest",
        "compress and evaluate Jobs",
        "The Job's request is missing or cannot be read: the images of operator and Job are of different releases.",
        "Use images of one release; leave `spec.jobs.image` out.",
    ),
)

SECTION = Section(
    "Stores",
    "As above. `Unreachable` and `StorageFull` end with exit status 1, so that the Job is tried again.",
    (*_REMOTE, *_STORE),
)
