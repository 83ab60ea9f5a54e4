"""The tasks: what there is to learn. A new task is one file here, with its config, `check_data` and `build`.

Nothing here imports JAX: configs and data are checked before it is loaded.
"""

from types import ModuleType
from typing import Annotated

from pydantic import Field

from experiments.tasks import (
    activity,
    adding,
    chars,
    copying,
    digits,
    digits_mnist,
    forecast,
    music,
    patients,
    pronunciation,
    robot_dynamics,
    sentiment,
    speech_digits,
    speech_vowels,
    summarise,
    summarise_extract,
    translation,
    video,
)
from experiments.tasks.frames import Forecast, Frames
from experiments.tasks.measurements import Measured, Measurements
from experiments.tasks.sequences import Sentences, SourceAndTarget, Translation
from experiments.tasks.task import Assessment, Batch, Quantiles, Task, TaskBlock, Tokens, Vectors

TaskConfig = Annotated[
    adding.AddingConfig
    | chars.CharsConfig
    | copying.CopyConfig
    | digits.DigitsConfig
    | activity.ActivityConfig
    | speech_digits.SpeechDigitsConfig
    | speech_vowels.SpeechVowelsConfig
    | digits_mnist.DigitsMnistConfig
    | music.MusicConfig
    | patients.PatientsConfig
    | pronunciation.PronunciationConfig
    | sentiment.SentimentConfig
    | summarise.SummariseConfig
    | summarise_extract.SummariseExtractConfig
    | translation.TranslationConfig
    | video.VideoConfig
    | forecast.ForecastConfig
    | robot_dynamics.RobotDynamicsConfig,
    Field(discriminator="name"),
]
"""The ``task`` block of a config, told apart by ``name``."""

_MODULES: dict[type[TaskBlock], ModuleType] = {
    adding.AddingConfig: adding,
    chars.CharsConfig: chars,
    copying.CopyConfig: copying,
    digits.DigitsConfig: digits,
    activity.ActivityConfig: activity,
    speech_digits.SpeechDigitsConfig: speech_digits,
    speech_vowels.SpeechVowelsConfig: speech_vowels,
    digits_mnist.DigitsMnistConfig: digits_mnist,
    music.MusicConfig: music,
    patients.PatientsConfig: patients,
    pronunciation.PronunciationConfig: pronunciation,
    sentiment.SentimentConfig: sentiment,
    summarise.SummariseConfig: summarise,
    summarise_extract.SummariseExtractConfig: summarise_extract,
    translation.TranslationConfig: translation,
    video.VideoConfig: video,
    forecast.ForecastConfig: forecast,
    robot_dynamics.RobotDynamicsConfig: robot_dynamics,
}

__all__ = [
    "Assessment",
    "Batch",
    "Forecast",
    "Frames",
    "Measured",
    "Measurements",
    "Quantiles",
    "Sentences",
    "SourceAndTarget",
    "Task",
    "TaskConfig",
    "Tokens",
    "Translation",
    "Vectors",
    "build",
    "check_data",
]


def check_data(config: TaskConfig) -> None:
    """Raise UserError, with the way to get it, if the data of the task is missing; cheap, loads nothing."""
    _MODULES[type(config)].check_data(config)


def build(config: TaskConfig) -> Task:
    """Load the data of the task."""
    return _MODULES[type(config)].build(config)
