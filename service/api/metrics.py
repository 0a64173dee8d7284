"""Counters of the service in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from nuwa_search.store.store import Store

# Seconds; a page's request takes milliseconds, a bundle of tens of megabytes a few seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What is counted; one registry per application, so that tests do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "nuwa_http_requests_total", "Requests", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "nuwa_http_request_seconds", "Duration", ("method", "route"), buckets=_BUCKETS, registry=self.registry
        )
        self.streams = Gauge("nuwa_event_streams", "Open event streams", registry=self.registry)
        self._jobs = Gauge("nuwa_jobs", "Jobs in the database", ("kind", "state"), registry=self.registry)
        self._workers = Gauge("nuwa_workers", "Workers that showed a sign of life", registry=self.registry)

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request.

        Args:
            method: HTTP method.
            route: Route with placeholders in place of ids, such as ``/api/v1/subnets/{subnet_id}``.
            status: HTTP status code.
            seconds: Time from the request to the end of the answer.
        """
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(method, route).observe(seconds)

    def render(self, store: Store) -> bytes:
        """Write everything, with what the database counts."""
        self._jobs.clear()
        for (kind, state), count in store.count_jobs().items():
            self._jobs.labels(kind, state).set(count)
        self._workers.set(store.count_workers())
        return generate_latest(self.registry)
