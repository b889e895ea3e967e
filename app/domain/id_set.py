"""A set of ids in blocks of bytes, for the many that one database hands out in sequence.

A block has one byte for each of the `BLOCK` ids that it covers: `IN` if the id is in the set. A
million ids are about a thousand blocks of a kilobyte, and a database finds one of them by its
position in a block without unpacking anything.
"""

from collections.abc import Iterable, Iterator

BLOCK = 1024
IN = b"1"
_OUT = b"0"
_IN = IN[0]


class IdSet:
    """Ids of rows, each once, however often it was added."""

    __slots__ = ("_blocks",)

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._blocks: dict[int, bytearray] = {}
        self.update(ids)

    def update(self, ids: Iterable[int]) -> None:
        """Add ids."""
        blocks = self._blocks
        for id in ids:
            number = id // BLOCK
            block = blocks.get(number)
            if block is None:
                block = blocks[number] = bytearray(_OUT * BLOCK)
            block[id % BLOCK] = _IN

    def merge(self, number: int, members: bytes) -> None:
        """Add the ids of a block."""
        self.update(ids_in(number, members))

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each block, in ascending order."""
        for number in sorted(self._blocks):
            yield number, bytes(self._blocks[number])

    def __len__(self) -> int:
        return sum(block.count(IN) for block in self._blocks.values())

    def __iter__(self) -> Iterator[int]:
        for number, members in self.blocks():
            yield from ids_in(number, members)


def ids_in(number: int, members: bytes) -> Iterator[int]:
    """Yield the ids of a block, in ascending order."""
    place = members.find(IN)
    while place >= 0:
        yield number * BLOCK + place
        place = members.find(IN, place + 1)
