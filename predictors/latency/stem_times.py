"""Times of nets without blocks, interpolated over embedding width, number of classes and, where asked, patches."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Arch
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.table.row import TableRow
from nuwa_search.latency.table.unit import StemKey, label_of, stem_of
from nuwa_search.predictors.latency.features import log_coordinates, stem_work
from nuwa_search.predictors.latency.interpolate import Surface, fit_surface
from nuwa_search.predictors.latency.unit_times import is_joined

Array = npt.NDArray[np.float64]


class StemTimes:
    """Times of stems; those that differ in width and classes only are interpolated together.

    Args:
        rows: Rows of one table, of any kind.
        joined: Numbers of tokens whose stems are interpolated together, as of ``group_of``.
    """

    def __init__(self, rows: Iterable[TableRow], joined: Collection[int] = ()) -> None:
        groups: dict[StemKey, list[TableRow]] = {}
        self._joined = joined
        for row in rows:
            if isinstance(row.key, StemKey) and not _is_between(row.key, joined):
                groups.setdefault(_group(row.key, joined), []).append(row)
        self._surfaces: dict[StemKey, Surface] = {key: _fit(found) for key, found in groups.items()}
        self._known: dict[StemKey, float] = {}
        self._keys: dict[tuple[object, ...], StemKey] = {}

    def predict(self, archs: Sequence[Arch], *, device_name: str) -> Array:
        """Predict the ends of archs in milliseconds, (num_archs,).

        Raises:
            NuwaError: If the table has no stem of that kind.
        """
        return np.array([self._predict(self._key(arch), device_name) for arch in archs])

    def _key(self, arch: Arch) -> StemKey:
        # Building a key takes longer than predicting with one: archs of a search share a handful of them.
        shape = (arch.embed_dim, arch.num_classes, arch.img_size, arch.patch_size, arch.in_chans)
        fields = (*shape, arch.num_prefix_tokens, arch.global_pool, arch.norm, arch.pre_norm, arch.final_norm)
        found = self._keys.get(fields)
        if found is None:
            found = self._keys[fields] = stem_of(arch)
        return found

    def _predict(self, key: StemKey, device_name: str) -> float:
        if key not in self._known:
            surface = self._surfaces.get(_group(key, self._joined))
            if surface is None:
                raise NuwaError(
                    f"the latency table of {device_name} has no row like: {label_of(key)}",
                    hint=f"nuwa profile {device_name}",
                )
            self._known[key] = float(surface.predict(_points([key]))[0][0])
        return self._known[key]


def _group(key: StemKey, joined: Collection[int]) -> StemKey:
    alike = replace(key, embed_dim=1, num_classes=1)
    return replace(alike, img_size=key.patch_size, img_width=0) if is_joined(_num_tokens(key), joined) else alike


def _num_tokens(key: StemKey) -> int:
    return key.num_patches + key.num_prefix_tokens


def _is_between(key: StemKey, joined: Collection[int]) -> bool:
    """Whether a row lies between those that are joined and is none of them: it is another base's."""
    return is_joined(_num_tokens(key), joined) and _num_tokens(key) not in joined


def _points(keys: Sequence[StemKey]) -> Array:
    rows = [(k.embed_dim, k.num_classes, k.num_patches, k.in_chans * k.patch_size**2) for k in keys]
    return np.array(rows, dtype=np.float64)


def _fit(rows: Sequence[TableRow]) -> Surface:
    points = _points([row.key for row in rows if isinstance(row.key, StemKey)])
    values = np.array([row.latency_ms for row in rows])
    sds = np.array([row.sd_ms for row in rows])
    return fit_surface(points, values, sds, features=stem_work, coordinates=log_coordinates)
