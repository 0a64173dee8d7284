"""The fakes of ``tests.support.search_fakes`` as fixtures."""

import pytest

from tests.support.search_fakes import (
    CountingLatency,
    EmptyDeriver,
    KlOf,
    MakeSpace,
    SyntheticScorer,
    synthetic_kl,
    tiny_space,
)


@pytest.fixture
def latency() -> CountingLatency:
    return CountingLatency()


@pytest.fixture
def deriver() -> EmptyDeriver:
    return EmptyDeriver()


@pytest.fixture
def make_space() -> MakeSpace:
    return tiny_space


@pytest.fixture
def kl_of() -> KlOf:
    return synthetic_kl


@pytest.fixture
def make_scorer() -> type[SyntheticScorer]:
    return SyntheticScorer


@pytest.fixture
def make_deriver() -> type[EmptyDeriver]:
    return EmptyDeriver
