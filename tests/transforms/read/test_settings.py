import re

import pytest

from pipeline import config
from transforms.read.formats.registry import FORMATS
from transforms.read.settings import InputSettings


@pytest.mark.parametrize("format", ["auto", *FORMATS])
def test_every_format_can_be_asked_for(format):
    assert InputSettings(format=format).format == format


def test_another_format_is_refused_and_the_known_ones_named():
    message = "input.format: must be one of auto, webdataset, tfrecord, parquet, images, got 'tar'"
    with pytest.raises(config.ConfigError, match=re.escape(message)):
        config.parse({"input": {"format": "tar"}})
