"""The operator's Prometheus metrics, in controller-runtime's vocabulary."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from modelpress import __version__

REGISTRY = CollectorRegistry()

RECONCILES = Counter("modelpress_reconcile", "Reconciles by kind and result.", ["kind", "result"], registry=REGISTRY)
RECONCILE_ERRORS = Counter(
    "modelpress_reconcile_errors", "Reconciles that ended in an unexpected error.", ["kind"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "modelpress_reconcile_time_seconds", "Duration of a reconcile.", ["kind"], registry=REGISTRY
)
ACTIVE_WORKERS = Gauge("modelpress_active_workers", "Workers that reconcile right now.", registry=REGISTRY)
MAX_WORKERS = Gauge("modelpress_max_concurrent_reconciles", "Number of workers.", registry=REGISTRY)
QUEUE_DEPTH = Gauge("modelpress_workqueue_depth", "Keys that wait for a worker.", registry=REGISTRY)
QUEUE_ADDS = Counter("modelpress_workqueue_adds", "Keys put into the queue.", registry=REGISTRY)
QUEUE_RETRIES = Counter("modelpress_workqueue_retries", "Keys queued again after an error.", registry=REGISTRY)
QUEUE_SECONDS = Histogram(
    "modelpress_workqueue_queue_duration_seconds", "How long a key waited for a worker.", registry=REGISTRY
)
LONGEST_SECONDS = Gauge(
    "modelpress_workqueue_longest_running_processor_seconds",
    "Age of the oldest reconcile under way.",
    registry=REGISTRY,
)
API_REQUESTS = Counter(
    "modelpress_rest_client_requests", "Requests to the API server.", ["code", "method"], registry=REGISTRY
)
WATCH_EVENTS = Counter("modelpress_watch_events", "Objects seen through watches.", ["kind"], registry=REGISTRY)
LEADER = Gauge("modelpress_leader_election_master_status", "1 while this process holds the Lease.", registry=REGISTRY)
LOOP_LAG = Gauge("modelpress_event_loop_lag_seconds", "How late the event loop last woke up.", registry=REGISTRY)
BUILD = Info("modelpress_build", "Version of the operator.", registry=REGISTRY)
BUILD.info({"version": __version__})
