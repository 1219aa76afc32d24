import numpy as np
import pytest

from tests.factories import predictions
from transforms.predict.pieces import OneSize, in_parallel
from transforms.worker.threads import num_cores


class OutOfMemoryError(Exception):
    pass


class Model:
    """Says that an image is of the class of its first pixel and of the rank of its label; has room for some images."""

    def __init__(self, capacity=1000):
        self.capacity, self.sizes = capacity, []

    def __call__(self, pixels, labels):
        self.sizes.append(len(pixels))
        if len(pixels) > self.capacity:
            raise OutOfMemoryError
        rank = np.array([[-5 if label is None else label] for label in labels], np.int32)
        return predictions(len(pixels))._replace(class_index=pixels[:, 0, 0, :1].astype(np.int32), rank=rank)


def pixels_of(count):
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17, 40])
def test_pieces_in_parallel_are_what_the_whole_is(count):
    model, labels = Model(), [None if n % 3 else n for n in range(count)]
    got = in_parallel(model, pixels_of(count), labels)
    assert got.class_index.ravel().tolist() == list(range(count))
    assert got.rank.ravel().tolist() == [-5 if label is None else label for label in labels]
    assert len(model.sizes) == min(num_cores(), -(-count // 8))


def test_a_gpu_gets_pieces_of_one_shape():
    model = Model()
    got = OneSize(model, 8, OutOfMemoryError)(pixels_of(11), [*range(10), None])
    assert model.sizes == [8, 8]
    assert got.class_index.ravel().tolist() == list(range(11))
    assert got.rank.ravel().tolist() == [*range(10), -5]


def test_out_of_memory_halves_the_pieces_once_and_for_all(caplog):
    model = Model(capacity=3)
    predict = OneSize(model, 8, OutOfMemoryError)
    assert predict(pixels_of(10), [None] * 10).class_index.ravel().tolist() == list(range(10))
    assert model.sizes == [8, 4, 2, 2, 2, 2, 2]
    assert "8 images do not fit into the GPU's memory, trying 4" in caplog.text
    model.sizes.clear()
    predict(pixels_of(4), [None] * 4)
    assert model.sizes == [2, 2]


def test_one_image_that_does_not_fit_is_an_error(caplog):
    with pytest.raises(OutOfMemoryError):
        OneSize(Model(capacity=0), 4, OutOfMemoryError)(pixels_of(4), [None] * 4)
