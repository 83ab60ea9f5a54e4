import json
import logging
import os
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.runs.checkpoints import CheckpointWriter, restore, restore_as_saved, saved_steps
from experiments.system.errors import FailedOnTheWay, UserError


class State(NamedTuple):
    params: Any
    step: jax.Array
    nothing: Any = None
    empty: tuple[()] = ()


def state(step, width=5):
    params = {"w": jnp.arange(3 * width, dtype=jnp.float32).reshape(3, width) + step, "b": jnp.ones(2, jnp.bfloat16)}
    return State({"layer_0": params}, jnp.int32(step))


@pytest.fixture
def directory(tmp_path):
    """Checkpoints of steps 2, 4 and 6, of which two are kept."""
    with CheckpointWriter(tmp_path / "checkpoints", keep=2) as writer:
        for step in (2, 4, 6):
            writer.save(step, state(step), seconds=step / 2)
    return tmp_path / "checkpoints"


def refusal(directory, step, like):
    with pytest.raises(UserError) as caught:
        restore(directory, step, like)
    (message,) = caught.value.messages
    return message


def test_restores_to_the_bit(directory):
    like = jax.eval_shape(lambda: state(0))
    restored, seconds = restore(directory, 6, like)
    assert jax.tree.structure(restored) == jax.tree.structure(state(6))
    for ours, original in zip(jax.tree.leaves(restored), jax.tree.leaves(state(6)), strict=True):
        assert isinstance(ours, jax.Array)
        assert ours.dtype == original.dtype
        np.testing.assert_array_equal(ours, original)
    assert seconds == 3.0


def test_keeps_the_latest(directory):
    assert saved_steps(directory) == [4, 6]
    with CheckpointWriter(directory, keep=2) as writer:
        writer.save(6, state(99), seconds=0.0)
        writer.save(8, state(8), seconds=4.0)
    assert saved_steps(directory) == [6, 8]
    assert restore(directory, 6, state(0))[0].step == 6


def test_no_directory_has_no_steps(tmp_path):
    assert saved_steps(tmp_path / "nowhere") == []


def test_half_written_folders_do_not_count_and_go(directory):
    half = directory / "8.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "data").touch()
    assert saved_steps(directory) == [4, 6]
    with CheckpointWriter(directory, keep=2):
        pass
    assert not half.exists()
    assert saved_steps(directory) == [4, 6]


def largest(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def truncate(folder):
    os.truncate(largest(folder), largest(folder).stat().st_size // 2)


def flip_a_byte(folder):
    data = bytearray(largest(folder).read_bytes())
    data[len(data) // 2] ^= 1
    largest(folder).write_bytes(data)


def lose_a_file(folder):
    largest(folder).unlink()


def break_the_checksums(folder):
    (folder / "checksums.json").write_text("{")


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, lose_a_file, break_the_checksums])
def test_damage_is_named_with_the_way_out_and_nothing_else_is_printed(directory, damage, capfd):
    damage(directory / "6")
    before = {file: file.stat().st_mtime_ns for file in directory.rglob("*")}
    message = refusal(directory, 6, state(0))
    assert message.startswith(f"{directory / '6'}: a damaged checkpoint (")
    assert message.endswith("delete this folder to fall back to step 4")
    assert {file: file.stat().st_mtime_ns for file in directory.rglob("*")} == before
    assert capfd.readouterr() == ("", "")
    assert restore(directory, 4, state(0))[0].step == 4


def test_the_only_checkpoint_damaged(directory):
    flip_a_byte(directory / "4")
    assert refusal(directory, 4, state(0)).endswith("delete this folder to begin again at step 0")


def test_other_shapes_are_refused(directory):
    assert "other shapes" in refusal(directory, 6, state(0, width=4))


def test_a_run_killed_before_the_checksums_were_written_is_restored(directory):
    checksums = directory / "6" / "checksums.json"
    assert len(json.loads(checksums.read_text())) > 3
    checksums.unlink()
    assert restore(directory, 6, state(0))[0].step == 6


class LaterState(NamedTuple):
    params: Any
    step: jax.Array
    loss_scale: jax.Array


def test_a_whole_checkpoint_of_another_structure_is_not_called_damaged(directory):
    message = refusal(directory, 6, LaterState(state(0).params, jnp.int32(0), jnp.float32(0)))
    assert message.startswith(f"{directory / '6'}: a whole checkpoint, but of another config, other data or another")
    assert "delete" not in message


def test_a_state_is_read_without_knowing_its_structure(directory):
    found = restore_as_saved(directory, 6)
    np.testing.assert_array_equal(found["params"]["layer_0"]["w"], state(6).params["layer_0"]["w"])
    assert int(found["step"]) == 6
    flip_a_byte(directory / "6")
    with pytest.raises(UserError, match="a damaged checkpoint"):
        restore_as_saved(directory, 6)


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(directory, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(directory), "read_bytes", refused)
    message = refusal(directory, 6, state(0))
    assert message.endswith("cannot be read: Permission denied; mend that")
    assert "damaged" not in message


FULL = (
    'RESOURCE_EXHAUSTED: Error writing "state.step/c": Failed to write 316 bytes to file 25: No space left on device '
    "[os_error_code='28'] [tensorstore_spec='...']\nand pages more"
)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError(FULL), OSError, "No space left on device"),
        (OSError(28, "No space left on device"), OSError, "No space left on device"),
        (ValueError("something else\nand pages more"), FailedOnTheWay, "could not be saved: something else$"),
    ],
)
def test_a_save_that_fails_is_one_line_and_leaves_nothing_half_written(
    directory, monkeypatch, capfd, error, kind, message
):
    half = directory / "8.orbax-checkpoint-tmp"

    class Response:
        def result(self):
            half.mkdir()
            logging.getLogger("absl").error("pages of it")
            raise error

    level = logging.getLogger("absl").level
    hook = sys.unraisablehook
    try:
        writer = CheckpointWriter(directory, keep=2)
        monkeypatch.setattr(writer._checkpointer, "save_async", lambda *_, **__: Response())
        with pytest.raises(kind, match=message) as caught, writer:
            writer.save(8, state(8), seconds=4.0)
    finally:
        # After an error its threads are kept quiet to the end of the process.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(level)
        sys.unraisablehook = hook
    if kind is OSError:
        assert (caught.value.errno, caught.value.filename) == (28, str(directory / "8"))
    assert not half.exists()
    assert saved_steps(directory) == [4, 6]
    assert capfd.readouterr().err == ""
