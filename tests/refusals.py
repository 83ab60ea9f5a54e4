"""What a mistake is answered with."""

import contextlib

import pytest


@contextlib.contextmanager
def refused(kind, words):
    """What runs within raises ``kind``, with a message that has all these words."""
    with pytest.raises(kind) as error:
        yield
    message = str(error.value)
    assert [word for word in words if word not in message] == [], message
