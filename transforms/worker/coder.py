"""The coder of batches: batches never leave the process that made them, so that it refuses to encode any."""

from typing import Any, NoReturn

import apache_beam as beam

from transforms.errors import BrokenChainError
from transforms.records import ShardBatch


class ShardBatchCoder(beam.coders.Coder):
    """Tells Beam's counters a size without pickling the batch for it, as Beam would for nearly every batch."""

    def encode(self, value: ShardBatch) -> NoReturn:
        raise BrokenChainError.about(f"a batch of shard {value.shard.shard_id} was to be sent elsewhere")

    def decode(self, encoded: bytes) -> NoReturn:
        raise BrokenChainError.about("a batch has come from elsewhere")

    def estimate_size(self, value: ShardBatch) -> int:
        return 1

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> Any:
        return ShardBatch


def register() -> None:
    """Has Beam use this coder for every collection of batches."""
    beam.coders.registry.register_coder(ShardBatch, ShardBatchCoder)
