"""The residual stream while a graph is written: a tensor (B · N, C) that knows its B and N."""

from dataclasses import dataclass, replace

from nuwa_search.deploy.export.writer import GraphWriter


@dataclass(frozen=True)
class Stream:
    """Tensor ``name`` of shape (batch · num_tokens, C)."""

    name: str
    batch: int
    num_tokens: int

    @property
    def lead(self) -> tuple[int, ...]:
        """Batch axis of tensors by head: one image needs none."""
        return () if self.batch == 1 else (self.batch,)

    def with_name(self, name: str) -> "Stream":
        """Return another tensor of the same shape."""
        return replace(self, name=name)

    def tokens(self, g: GraphWriter, first: int, last: int, name: str) -> "Stream":
        """Take tokens ``first`` to ``last`` (exclusive) of every image; nothing is written if that is all.

        Args:
            g: Writer of the graph.
            first: Index of the first token.
            last: One past the index of the last token.
            name: Prefix of the nodes.
        """
        taken = last - first
        if taken == self.num_tokens:
            return self
        if self.batch == 1:
            return Stream(g.rows(self.name, first, last, name, axis=0), 1, taken)
        by_image = g.reshape(self.name, (self.batch, self.num_tokens, -1), f"{name}.by_image")
        part = g.rows(by_image, first, last, name, axis=1)
        return Stream(g.reshape(part, (self.batch * taken, -1), f"{name}.rows"), self.batch, taken)
