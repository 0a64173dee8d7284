"""The boards that run the sub-models of a collaboration, with their times for each way to use them."""

from collections.abc import Sequence
from dataclasses import dataclass

from nuwa_search.deploy.collaborate.network import Network, ways_ms
from nuwa_search.predictors.collaboration.modes import BoardTimes, Centre
from nuwa_search.predictors.collaboration.spread import Spread

VALUE_BYTES = 4
"""Of one FP32 number of a vector."""


@dataclass(frozen=True)
class Crew:
    """The boards that run the sub-models, and their network.

    Args:
        boards: Board of each sub-model, by name.
        compute: Compute time of each sub-model on its board.
        vector_dims: Width of the vector of each sub-model.
        network: Network of the boards.
        image_bytes: Sent for each image; 0 where boards have cameras.
        fusion_ms: On the coordinator.
        gate: Place of a sub-model that is asked where images are routed, and not where all boards answer.
    """

    boards: tuple[str, ...]
    compute: tuple[Spread, ...]
    vector_dims: tuple[int, ...]
    network: Network
    image_bytes: int
    fusion_ms: float
    gate: int | None = None

    @property
    def experts(self) -> tuple[int, ...]:
        """Places of the sub-models that all boards answer with."""
        return tuple(k for k in range(len(self.boards)) if k != self.gate)

    @property
    def names(self) -> tuple[str, ...]:
        """The boards, each once."""
        return tuple(dict.fromkeys(self.boards))

    @property
    def owners(self) -> tuple[int, ...]:
        """Place of each sub-model's board among ``names``."""
        return tuple(self.names.index(board) for board in self.boards)

    @property
    def centre(self) -> Centre:
        """What the coordinator adds where every board is asked."""
        far = [self.vector_dims[k] for k in self.experts if not self._is_local(self.boards[k])]
        num_far = len(self.names) - len(set(self.network.local_boards) & set(self.names))
        asked, answered = num_far * self.image_bytes, VALUE_BYTES * sum(far)
        wire_ms = max(8 * asked / self.network.all_down_mbit, 8 * answered / self.network.all_up_mbit) / 1000
        return Centre(self.fusion_ms, wire_ms, program_ms=len(self.names) * self.network.all_message_ms)

    def times(self) -> list[BoardTimes]:
        """One entry for each board, which runs its sub-models one after another."""
        held = [[k for k in self.experts if self.boards[k] == name] for name in self.names]
        together = self._ways(self.names, [sum(self.vector_dims[k] for k in one) for one in held])
        found = []
        for name, one, way in zip(self.names, held, together, strict=True):
            compute = Spread(0.0, 0.0)
            for k in one:
                compute = compute.then(self.compute[k])
            num_values = sum(self.vector_dims[k] for k in one)
            alone = self._ways([name], [num_values])[0]
            found.append(BoardTimes(compute, way, alone, self._wire_ms(name, num_values), self._message_ms(name)))
        return found

    def times_by_model(self, *, are_alone: bool) -> list[BoardTimes]:
        """One entry for each sub-model asked alone; or, the gate left out, after those before it on its board."""
        boards = self.times()
        found = []
        for k, (name, dim) in enumerate(zip(self.boards, self.vector_dims, strict=True)):
            if not are_alone and k == self.gate:
                continue
            compute = self.compute[k]
            before = () if are_alone else (j for j in self.experts if j < k and self.boards[j] == name)
            for j in before:
                compute = self.compute[j].then(compute)
            way = self._ways([name], [dim])[0]
            together, wire_ms = boards[self.owners[k]].together, self._wire_ms(name, dim)
            found.append(BoardTimes(compute, together, way, wire_ms, self._message_ms(name)))
        return found

    def bytes_of(self, models: Sequence[int]) -> int:
        """Payload on the network, both ways, of an image that these sub-models answer."""
        far = [k for k in models if not self._is_local(self.boards[k])]
        asked = {self.boards[k] for k in far}
        return len(asked) * self.image_bytes + VALUE_BYTES * sum(self.vector_dims[k] for k in far)

    def _is_local(self, name: str) -> bool:
        return self.network.link(name).is_local

    def _ways(self, names: Sequence[str], num_values: Sequence[int]) -> list[Spread]:
        sizes = [VALUE_BYTES * num for num in num_values]
        found = ways_ms(self.network, names, image_bytes=self.image_bytes, vector_bytes=sizes)
        links = [self.network.link(name) for name in names]
        return [Spread(ms, ms + (link.rtt_p95_ms - link.rtt_p50_ms)) for ms, link in zip(found, links, strict=True)]

    def _message_ms(self, name: str) -> float:
        return self.network.link(name).message_ms

    def _wire_ms(self, name: str, num_values: int) -> float:
        link = self.network.link(name)
        if link.is_local:
            return 0.0
        return max(8 * self.image_bytes / link.down_mbit, 8 * VALUE_BYTES * num_values / link.up_mbit) / 1000
