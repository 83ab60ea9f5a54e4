"""The video task: tell the next frame, or the digits, of clips of moving handwritten digits (see moving_digits.py).

Clips are made up at each step from scikit-learn's 8x8 digits (see images/digits.py). Training, validation and test
clips show different images and different motions.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from experiments.tasks.images.augmentation import ImageAugmentation
from experiments.tasks.images.digits import DIGITS_OF_8_BY_8, Images, find_file, read
from experiments.tasks.inputs import Frames
from experiments.tasks.packages import sha256
from experiments.tasks.registry import register
from experiments.tasks.task import Assessment, Batch, Task, TaskBlock, generated
from experiments.tasks.video import next_frames
from experiments.tasks.video.moving_digits import DIGIT_SIDE, draw_corners, draw_digits, draw_frames

# The scale of pixels, the mean frame and the linear baseline come from these clips; no batch has their seed.
_REFERENCE_SEED, _REFERENCE_ROWS = 0, 30
_CLIPS_SHOWN, _FRAMES_SHOWN = 6, 10
_UNCHANGED = ImageAugmentation()
# The settings for which the constant floor of the target "digits" was measured.
_FLOOR_SETTINGS = {"digits": 2, "steps": 8, "side": 20, "lowest_speed": 1.0, "highest_speed": 2.0, "test_rows": 500}


class VideoConfig(TaskBlock):
    """Clips of ``steps`` frames of ``side`` x ``side`` pixels, in which ``digits`` different digits move.

    ``target``: "next_frame" = tell the next frame at each frame; "digits" = tell which digits a clip shows.
    """

    name: Literal["video"]
    target: Literal["next_frame", "digits"] = "next_frame"
    steps: Annotated[int, Field(ge=4, le=1000)] = 20
    side: Annotated[int, Field(gt=DIGIT_SIDE, le=64)] = 20
    digits: Annotated[int, Field(ge=1, le=3)] = 2
    lowest_speed: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Pixels a frame; every digit of every clip has a speed of its own, between this and the highest."""
    # The default is validated too: it may be below the lowest speed that a user sets.
    highest_speed: Annotated[float, Field(ge=0, le=8, validate_default=True)] = 2.0
    augmentation: ImageAugmentation = ImageAugmentation()
    """Changes to the digits of training clips, before they move."""
    validation_rows: Annotated[int, Field(gt=0)] = 200
    test_rows: Annotated[int, Field(gt=0)] = 500

    @field_validator("highest_speed")
    @classmethod
    def _speeds_rise(cls, highest: float, info: ValidationInfo) -> float:
        lowest = info.data.get("lowest_speed", highest)
        if highest < lowest:
            raise ValueError(f"expected at least task.lowest_speed ({lowest:g}), got {highest:g}")
        return highest

    # A property stands for the class variable of other tasks: here the config itself decides.
    @property
    def per_step(self) -> bool:  # pyrefly: ignore[bad-override]
        """The next frame is asked for at every frame, the digits once a clip."""
        return self.target == "next_frame"

    @property
    def predicts_inputs(self) -> bool:  # pyrefly: ignore[bad-override]
        """The next frame is a later input."""
        return self.target == "next_frame"

    @property
    def frame_shape(self) -> tuple[int, int]:  # pyrefly: ignore[bad-override]
        """Height and width of a frame, in pixels."""
        return self.side, self.side


def check_data(config: VideoConfig) -> None:
    """Raise UserError if the file of the digits is not installed; nothing is loaded."""
    find_file("video")


def build(config: VideoConfig) -> Task:
    """Load the digits: inputs (B, T, side, side, 1), pixels over their root mean square.

    "next_frame": T = steps - 1, and the targets (B, T, side * side) are the pixels of the frame after each. "digits":
    T = steps, and the targets (B, 10) are 1 for the digits in a clip and 0 for the others.
    """
    file = find_file("video")
    images = read(file)
    reference, _ = _clips(config, images["train"], np.random.default_rng(_REFERENCE_SEED), _REFERENCE_ROWS)
    scale = float(np.sqrt((reference**2).mean()))
    facts = {"sha256": sha256(file), "data": "digits moved by program", "pixel_scale": round(scale, 4)}
    facts |= {f"{split}_images": len(part.labels) for split, part in images.items()}
    if config.target == "digits":
        return _which_digits(config, _splits(config, images, functools.partial(_digits_batch, scale)), scale, facts)
    return _next_frame(
        config, _splits(config, images, functools.partial(_next_frame_batch, scale)), reference, scale, facts
    )


def _clips(
    config: VideoConfig,
    images: Images,
    rng: np.random.Generator,
    count: int,
    augmentation: ImageAugmentation = _UNCHANGED,
) -> tuple[np.ndarray, np.ndarray]:
    """Clips (count, steps, side, side) in [0, 1], and the digits that they show, (count, digits)."""
    digits, shown = draw_digits(rng, images, count, config.digits, augmentation)
    speeds = config.lowest_speed, config.highest_speed
    corners = draw_corners(rng, count, config.digits, config.steps, config.side, speeds)
    return draw_frames(digits, corners, config.side), shown


def _next_frame_batch(scale: float, clips: np.ndarray, shown: np.ndarray) -> Batch:
    frames = clips / np.float32(scale)
    targets = frames[:, 1:].reshape(*frames[:, 1:].shape[:2], -1)
    return Batch(frames[:, :-1, :, :, None], targets, np.ones(targets.shape[:2], np.float32))


def _digits_batch(scale: float, clips: np.ndarray, shown: np.ndarray) -> Batch:
    targets = np.zeros((len(shown), 10), np.float32)
    np.put_along_axis(targets, shown, 1, axis=1)
    return Batch((clips / np.float32(scale))[..., None], targets, np.ones(len(shown), np.float32))


def _splits(
    config: VideoConfig, images: Mapping[str, Images], batch: Callable[[np.ndarray, np.ndarray], Batch]
) -> dict[str, Any]:
    """``train_batch`` and ``split_batches``, each split from its own images; only those of training are augmented."""
    counts = {"validation": config.validation_rows, "test": config.test_rows}

    def of(split: str, *augmentation: ImageAugmentation) -> dict[str, Any]:
        return generated(lambda rng, count: batch(*_clips(config, images[split], rng, count, *augmentation)), counts)

    def split_batches(split: str, batch_size: int) -> Iterator[Batch]:
        return of(split)["split_batches"](split, batch_size)

    return {"train_batch": of("train", config.augmentation)["train_batch"], "split_batches": split_batches}


def _next_frame(
    config: VideoConfig, splits: dict[str, Any], reference: np.ndarray, scale: float, facts: dict[str, Any]
) -> Task:
    given = config.steps // 2
    (rows,) = splits["split_batches"]("test", config.test_rows)
    films = np.concatenate([rows.inputs[..., 0], rows.targets[:, -1:].reshape(-1, 1, *config.frame_shape)], axis=1)
    films *= scale
    guesses = {
        "copying the last frame": next_frames.copying_errors(films, given),
        "always the mean frame of training": next_frames.constant_errors(reference.mean(axis=(0, 1)), films, given),
    }
    linear = next_frames.linear_error(reference, films)
    return Task(
        name=config.name,
        inputs=Frames(*config.frame_shape, channels=1, given=given),
        outputs=config.side**2,
        per_step=config.per_step,
        loss="squared_error",
        metrics=("mse", "mae"),
        floor={metric: min(errors[metric] for errors in guesses.values()) for metric in ("mse", "rollout_mse")},
        floor_note=(
            "the better, for each, of "
            + " and ".join(f"{name} ({e['mse']:.4f}, {e['rollout_mse']:.4f})" for name, e in guesses.items())
            + "; mse is that of a pixel of the next frame, black = 0 and white = 1, rollout_mse "
            f"that of the {config.steps - given} frames after the first {given}, fed its own. Linear regression on "
            f"5x5 pixels of the last two frames: mse {linear:.4f}"
        ),
        **splits,
        scale=scale,
        predict="forecast",
        assess=functools.partial(next_frames.assess, scale=scale, given=given),
        facts=facts,
    )


def _which_digits(config: VideoConfig, splits: dict[str, Any], scale: float, facts: dict[str, Any]) -> Task:
    floor, note = _digits_floor(config)
    return Task(
        name=config.name,
        inputs=Frames(*config.frame_shape, channels=1),
        outputs=10,
        per_step=config.per_step,
        loss="bernoulli",
        metrics=("nll",),
        floor=floor,
        floor_note=note,
        **splits,
        assess=functools.partial(_answers, scale, config.digits),
        facts=facts,
    )


def _digits_floor(config: VideoConfig) -> tuple[dict[str, float], str]:
    """The floor and its note: nll for every setting, and ridge regression for the one setting that was measured."""
    share = config.digits / 10
    ignorance = -10 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    floor, note = {"nll": round(float(ignorance), 3)}, f"nll is that of saying {share:g} of every digit; "
    measured = {name: getattr(config, name) for name in _FLOOR_SETTINGS}
    if measured != _FLOOR_SETTINGS:
        settings = ", ".join(f"task.{name} {value:g}" for name, value in _FLOOR_SETTINGS.items())
        return floor, f"{note}exact_match and digit_accuracy have a floor for {settings} alone, where it was measured"
    return {**floor, "exact_match": 0.692, "digit_accuracy": 0.839}, (
        f"{note}the others are of ridge regression on the log power spectrum of the frames, which does not depend on "
        "where digits are, averaged over a clip (fitted to 3000 training clips; penalty 1000 of 10 to 1000, by the "
        "validation clips; scored on 500 test clips). On mean and standard deviation of each pixel it names 0.072 of "
        "the pairs; guessing, 0.022"
    )


def _answers(scale: float, digits: int, pairs: Iterable[tuple[Batch, Any]]) -> Assessment:
    """The shares of clips with all digits named right and of digits named right, and a picture of the first clips.

    The ``digits`` likeliest digits are named.
    """
    found, rows = [], {}
    for batch, outputs in pairs:
        real = batch.weights > 0
        said = np.argsort(np.asarray(outputs)[real], axis=-1)[:, -digits:]
        shown = batch.targets[real] > 0
        found.append(np.take_along_axis(shown, said, axis=1))
        if not rows:
            films = batch.inputs[real][:_CLIPS_SHOWN, :_FRAMES_SHOWN, ..., 0] * scale
            for film, true, named in zip(films, shown, said, strict=False):
                name = f"{len(rows) + 1}: {_listed(np.flatnonzero(true))}, said {_listed(named)}"
                rows[name] = next_frames.to_picture(film)
    right = np.concatenate(found)
    metrics = {"exact_match": float(right.all(axis=1).mean()), "digit_accuracy": float(right.mean())}
    return Assessment(metrics, {"answers": {"kind": "frames", "rows": rows}})


def _listed(digits: np.ndarray) -> str:
    return " ".join(map(str, sorted(digits.tolist())))


register(VideoConfig, check_data=check_data, build=build, data=[DIGITS_OF_8_BY_8])
