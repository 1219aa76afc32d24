import apache_beam as beam
import pytest

from tests.factories import labelled_batch
from transforms.records import ShardBatch
from transforms.worker import coder


def test_a_batch_has_a_size_without_being_encoded():
    assert coder.ShardBatchCoder().estimate_size(labelled_batch(2)) == 1


def test_a_chain_that_is_broken_is_said_to_be():
    coder.register()
    pipeline = beam.Pipeline(runner="FnApiRunner")
    batches = pipeline | beam.Create([2]) | beam.Map(labelled_batch).with_output_types(ShardBatch)
    _ = batches | beam.Reshuffle()
    with pytest.raises(Exception, match=r"a batch of shard .* was to be sent elsewhere.*Reshuffle.*broken the chain"):
        pipeline.run()
