"""What routes are handed: the store, the settings, and the parameters that many of them share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, StringConstraints

from nuwa_search.service.api.metrics import Metrics
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store

MAX_PAGE = 1000
MAX_LONG_PAGE = 5000
MAX_OFFSET = 1_000_000


def _printable(text: str) -> str:
    """Refuse control characters, which no name of ours holds and PostgreSQL does not store."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError("control characters are not allowed")
    return text


Word = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_printable)]
ClassList = Annotated[str, StringConstraints(min_length=1, max_length=20_000), AfterValidator(_printable)]
Milliseconds = Annotated[float, Query(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False)]


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _settings(request: Request) -> ServiceSettings:
    settings: ServiceSettings = request.app.state.settings
    return settings


def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


StoreOf = Annotated[Store, Depends(_store)]
SettingsOf = Annotated[ServiceSettings, Depends(_settings)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    offset: int

    def next_offset(self, num_all: int) -> int | None:
        """Where the next page starts; None on the last one."""
        end = self.offset + self.limit
        return end if end < num_all else None


def _page(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100, offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0
) -> Page:
    return Page(limit, offset)


def _long_page(
    limit: Annotated[int, Query(ge=1, le=MAX_LONG_PAGE)] = 100, offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0
) -> Page:
    return Page(limit, offset)


PageOf = Annotated[Page, Depends(_page)]
LongPageOf = Annotated[Page, Depends(_long_page)]


def classes_from_text(text: str | None) -> tuple[str, ...] | None:
    """Read ``a,b,c``; None stays None."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def moment(at: datetime | None) -> str | None:
    """Render a time as everywhere in the answers: UTC with microseconds."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def with_moments(row: dict[str, Any]) -> dict[str, Any]:
    """Render the times of a row."""
    return {name: moment(value) if isinstance(value, datetime) else value for name, value in row.items()}
