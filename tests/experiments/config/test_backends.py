"""model.backend and model.dtype in configs: what is refused, and that older configs stay what they were."""

from typing import get_args

import pytest
import yaml

import gru_jax
from experiments.compare.schema import CompareConfig
from experiments.config import backends, configs
from experiments.config.schema import ModelConfig
from experiments.models.build import build_cell
from experiments.runs.config import Config
from experiments.system.errors import UserError
from tests.throwaway_kernel import OURS, serves

COPY = {"task": {"name": "copy", "length": 3}, "model": {"features": 64}}


def config(**model):
    return configs.check(Config, COPY | {"model": COPY["model"] | model})


def refused(schema, values):
    with pytest.raises(UserError) as caught:
        configs.check(schema, values)
    (line,) = caught.value.messages
    return line


def test_the_names_are_those_of_gru_jax():
    """A backend that is new in gru_jax is named in `experiments.config.backends`, and nowhere else in experiments."""
    assert set(get_args(backends.Backend)) == {"auto", *OURS}


@pytest.mark.parametrize("cell", ["gru", "gru_d", "lstm", "rnn", "min_gru", "conv_gru"])
def test_a_backend_is_refused_for_the_cells_that_gru_jax_refuses_it_for(cell):
    block = ModelConfig.model_validate({"cell": cell}).cell
    made = gru_jax.conv_gru(image_shape=(4, 4)) if cell == "conv_gru" else build_cell(block)
    for name in OURS:
        assert (backends.refusal(name, cell) == "") == serves(name, made), name
    assert backends.refusal("auto", cell) == ""


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ({"backend": "fuesd"}, 'model.backend: expected one of auto, scan, fused, got "fuesd"'),
        ({"backend": "FUSED"}, 'model.backend: expected one of auto, scan, fused, got "FUSED"; in lower case: fused'),
        (
            {"backend": "fused", "cell": "lstm"},
            "model.backend: fused serves the cell gru alone, got lstm; set model.backend=auto, or another cell",
        ),
        ({"dtype": "bf16"}, 'model.dtype: expected one of float32, bfloat16, float16, got "bf16"'),
        ({"dtype": "float64"}, 'model.dtype: expected one of float32, bfloat16, float16, got "float64"'),
        ({"compute_dtype": "bfloat16"}, 'model.compute_dtype: unknown key; did you mean "dtype"? known here: cell, '),
    ],
)
def test_a_mistake_is_told_in_one_line(model, line):
    assert refused(Config, COPY | {"model": model}).startswith(line)


def test_a_comparison_refuses_a_backend_that_one_of_its_cells_lacks():
    values = {**COPY, "model": {"backend": "fused"}, "compare": {"cells": ["gru", "lstm"]}}
    line = "model.backend: fused serves the cell gru alone, got lstm; set model.backend=auto, or another cell in "
    assert refused(CompareConfig, values) == f"{line}compare.cells"
    values["model"] = {"backend": "scan"}
    assert configs.check(CompareConfig, values).model.backend == "scan"


def test_defaults_are_not_written_and_leave_the_hash_as_it_was():
    """The hash is that of runs which were made before there were these keys."""
    plain = config()
    assert (plain.model.backend, plain.model.dtype) == ("auto", "float32")
    assert configs.fingerprint(plain) == "f6c66d9b8b"
    assert not {"backend", "dtype", "start"} & yaml.safe_load(configs.to_yaml(plain))["model"].keys()
    assert config(backend="auto", dtype="float32") == config(dtype=None) == plain


def test_other_values_are_written_and_change_the_hash():
    other = config(backend="scan", dtype="bfloat16")
    values = yaml.safe_load(configs.to_yaml(other))
    assert (values["model"]["backend"], values["model"]["dtype"]) == ("scan", "bfloat16")
    assert configs.check(Config, values) == other
    hashes = {configs.fingerprint(one) for one in (other, config(), config(backend="scan"), config(dtype="bfloat16"))}
    assert len(hashes) == 4


def test_every_key_is_there_where_it_is_asked_for(tmp_path):
    values = yaml.safe_load(configs.to_yaml(config(), every_key=True))
    assert (values["model"]["backend"], values["model"]["dtype"], values["model"]["start"]) == ("auto", "float32", None)
    assert configs.check(Config, values) == config()
    settings = configs.settings(config(dtype="float16"))
    assert (settings["model.backend"], settings["model.dtype"], settings["model.start"]) == ("auto", "float16", None)
    lines = configs.differences(config(), config(backend="scan"), tmp_path)
    assert lines == [f'model.backend: "auto" in {tmp_path}, "scan" now']
