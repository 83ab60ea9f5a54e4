import json

import pytest

from experiments.config.schema import TrainingConfig
from experiments.runs.metrics_log import MetricsLog, cut_back, read
from experiments.system.errors import UserError

TRAINING = TrainingConfig(steps=25, log_every=10, eval_every=20)
# By hand: a training row every 10 steps and at the end, a validation row every 20 and at the end.
SCHEDULE = [(10, "train"), (20, "train"), (20, "validation"), (25, "train"), (25, "validation"), (25, "test")]


def write_all(path):
    with MetricsLog(path, None) as log:
        for step, split in SCHEDULE:
            log.write(step, split, {"loss": step / 7})
    return path.read_bytes()


def test_rows_are_json_in_eight_digits_without_times(tmp_path):
    with MetricsLog(tmp_path / "m.jsonl", None) as log:
        row = log.write(3, "train", {"loss": 1 / 3, "accuracy": 1.0})
    assert row == {"step": 3, "split": "train", "loss": 0.33333333, "accuracy": 1.0}
    expected = '{"step": 3, "split": "train", "loss": 0.33333333, "accuracy": 1.0}\n'
    assert (tmp_path / "m.jsonl").read_text() == expected
    assert read(tmp_path / "m.jsonl") == [row]


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 3), (24, 3), (25, 5)])
def test_cut_back_keeps_what_a_checkpoint_of_that_step_knows(tmp_path, step, kept):
    whole = write_all(tmp_path / "m.jsonl")
    assert cut_back(tmp_path / "m.jsonl", TRAINING, step) == len(SCHEDULE) - kept
    assert (tmp_path / "m.jsonl").read_bytes() == b"".join(whole.splitlines(keepends=True)[:kept])


def test_a_torn_last_line_after_the_checkpoint_is_dropped(tmp_path):
    whole = write_all(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(whole[:-9])
    assert cut_back(tmp_path / "m.jsonl", TRAINING, 20) == 3
    assert [row["step"] for row in read(tmp_path / "m.jsonl")] == [10, 20, 20]


def test_nothing_to_cut_back_before_the_first_row(tmp_path):
    assert cut_back(tmp_path / "m.jsonl", TRAINING, 0) == 0
    assert not (tmp_path / "m.jsonl").exists()


@pytest.mark.parametrize(
    ("damage", "line", "problem"),
    [
        (lambda text: text.replace("20", "2O", 1), 2, "the train row of step 20 is damaged"),
        (lambda text: "\n".join(text.splitlines()[:2]) + "\n", 3, "the validation row of step 20 is missing"),
        (lambda text: "\n".join(text.splitlines()[1:]) + "\n", 1, "the train row of step 10 is another one"),
        (lambda text: "", 1, "the train row of step 10 is missing"),
    ],
)
def test_rows_that_a_checkpoint_counts_on_must_be_there(tmp_path, damage, line, problem):
    path = tmp_path / "m.jsonl"
    write_all(path)
    path.write_text(damage(path.read_text()))
    before = path.read_text()
    with pytest.raises(UserError) as caught:
        cut_back(path, TRAINING, 20)
    (message,) = caught.value.messages
    assert message.startswith(f"{path}:{line}: {problem}, though there is a checkpoint of step 20")
    assert message.endswith("restore the file, or train again in another --run-dir")
    assert path.read_text() == before


def test_read_takes_a_running_file_and_refuses_a_damaged_one(tmp_path):
    path = tmp_path / "m.jsonl"
    whole = write_all(path)
    path.write_bytes(whole + b'{"step": 26, "sp')
    assert len(read(path)) == len(SCHEDULE)
    path.write_bytes(whole.replace(b'"train"', b'train"', 1))
    with pytest.raises(UserError, match=r"m\.jsonl:1: damaged"):
        read(path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.jsonl")


def test_tensorboard_gets_the_same_numbers_and_forgets_steps_that_will_come_again(tmp_path):
    with MetricsLog(tmp_path / "m.jsonl", tmp_path / "events") as log:
        log.write(10, "train", {"loss": 0.5})
        log.write(20, "train", {"loss": 0.25})
    with MetricsLog(tmp_path / "m.jsonl", tmp_path / "events", resumed_at=10) as log:
        log.write(20, "train", {"loss": 0.125})
    events = [event for file in sorted((tmp_path / "events").iterdir()) for event in _events(file)]
    scalars = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert sorted(scalars) == [(10, "train/loss", 0.5), (20, "train/loss", 0.125), (20, "train/loss", 0.25)]
    starts = [event.step for event in events if event.session_log.status == event.session_log.START]
    assert starts == [11]
    assert [json.loads(line)["loss"] for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [0.5, 0.25, 0.125]


def _events(file):
    """The records of an event file: length (8 bytes), checksum (4), the event, checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    data, place = file.read_bytes(), 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        yield Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
