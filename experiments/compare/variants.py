"""The configs of the runs that a comparison is made of."""

from collections.abc import Callable

import jax

from experiments import tasks
from experiments.compare.schema import CompareConfig, Match
from experiments.config import configs
from experiments.models.build import build_model
from experiments.runs.config import Config
from experiments.system.errors import UserError
from experiments.training.experiment import count_parameters


def label(cell: str, match: Match) -> str:
    """What a variant is called, in directories and tables."""
    return f"{cell}-{match}"


def variants(config: CompareConfig) -> dict[str, Config]:
    """The config of each variant with the first seed, by label; the first cell, which fits both matches, is there once.

    Raises UserError where a cell cannot be run on the task.
    """
    parameters = _counter(config)
    wanted = parameters(_with(config, 0, config.model.features))
    found: dict[str, Config] = {}
    for match in config.compare.match:
        for number, cell in enumerate(config.compare.cells):
            if number == 0:
                found.setdefault(label(cell.name, config.compare.match[0]), _with(config, 0, config.model.features))
            elif match == "width":
                found[label(cell.name, match)] = _with(config, number, config.model.features)
            else:
                found[label(cell.name, match)] = _matched(config, number, wanted, parameters)
    return found


def with_seed(config: Config, seed: int) -> Config:
    """The same variant, begun from another seed."""
    return configs.check(Config, config.model_dump(mode="json") | {"seed": seed})


def _with(config: CompareConfig, number: int, features: int | tuple[int, ...]) -> Config:
    values = config.model_dump(mode="json", exclude={"compare"})
    cell = config.compare.cells[number].model_dump(mode="json")
    values["model"] |= {"cell": cell, "features": features}
    return configs.check(Config, values | {"seed": config.compare.seeds[0]})


def _counter(config: CompareConfig) -> Callable[[Config], int]:
    """A function that counts a variant's parameters; the data, which is the same for all, is loaded once."""
    task = tasks.build(config.task)
    inputs = jax.tree.map(lambda leaf: leaf[:1], task.train_batch(0, 1, 1).inputs)

    def count(one: Config) -> int:
        return count_parameters(jax.eval_shape(build_model(one.model, task).init, jax.random.key(0), inputs))

    return count


def _matched(config: CompareConfig, number: int, wanted: int, parameters: Callable[[Config], int]) -> Config:
    """The config with the parameters nearest to ``wanted``; layers keep the proportions of their widths."""
    widest = max(config.model.widths)

    def scaled(width: int) -> Config:
        widths = tuple(max(1, round(width / widest * one)) for one in config.model.widths)
        return _with(config, number, widths if isinstance(config.model.features, tuple) else widths[0])

    def size(width: int) -> int:
        return parameters(scaled(width))

    low, high = 1, 8 * widest
    if size(low) > wanted:
        raise UserError(
            f"compare.match: {config.compare.cells[number].name} has more than {wanted} parameters even with one unit; "
            "make model.features larger"
        )
    if size(high) < wanted:
        raise UserError(
            f"compare.match: {config.compare.cells[number].name} has fewer than {wanted} parameters even with {high} "
            "units in a layer; give the cells wider inputs with model.input_features, or compare at equal width"
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= wanted else (low, middle)
    return scaled(min((low, high), key=lambda width: abs(size(width) - wanted)))
