from typing import Annotated

from transforms.settings import Added, Settings


class Cut(Settings):
    threshold: float = 0.5
    sides: Annotated[int, Added()] = 4


def test_only_added_keys_at_their_defaults_are_neutral():
    assert Cut().neutral() == {"sides"}
    assert Cut(threshold=0.7, sides=5).neutral() == set()
