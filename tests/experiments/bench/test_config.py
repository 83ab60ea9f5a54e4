"""The bench's config and the names of its contenders; none of it needs JAX, or a peer."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from experiments.bench import registry
from experiments.bench.directory import BenchDirectory
from experiments.bench.schema import BenchConfig
from experiments.config import configs
from experiments.config.stored_configs import default_path
from experiments.system.errors import UserError
from tests.places import CHECKOUT

SHIPPED = sorted((CHECKOUT / "configs").glob("bench*.yaml"))
TINY = "contenders: [gru_jax, linen]\nshapes: [[4, 2, 3, 5]]\n"


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def mistakes(path, *overrides):
    with pytest.raises(UserError) as caught:
        configs.load(BenchConfig, path, overrides)
    return caught.value.messages


def test_the_shipped_configs_are_there():
    assert [path.stem for path in SHIPPED] == ["bench", "bench_gpu", "bench_quick"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_config_is_valid_and_says_how_to_run_it(path, tmp_path):
    config = configs.load(BenchConfig, path)
    assert f"python -m experiments bench configs/{path.name}" in path.read_text()
    assert {"gru_jax", "torch", *(name for name in registry.PEERS if name != "torch")} <= set(config.contenders)
    again = tmp_path / "again.yaml"
    again.write_text(configs.to_yaml(config))
    assert configs.load(BenchConfig, again) == config


def test_the_shapes_and_growth_that_were_asked_for():
    config = configs.load(BenchConfig, CHECKOUT / "configs" / "bench.yaml")
    assert config.shapes == (
        (1000, 1, 32, 64),
        (128, 8, 32, 32),
        (128, 32, 64, 128),
        (512, 16, 128, 256),
        (256, 64, 256, 512),
    )
    ends = [(sizes[0], sizes[-1]) for sizes in (config.growth.T, config.growth.B, config.growth.H)]
    assert ends == [(64, 16384), (1, 256), (16, 1024)]


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("contenders=[gru_jx]", "contenders: expected contenders out of gru_jax, gru_jax:scan"),
        ("contenders=[gru_jax,gru_jax]", 'contenders: expected every contender once, got "gru_jax" twice'),
        ("contenders=['gru_jax:remat=0']", "contenders: expected contenders out of"),
        ("contenders=[]", "contenders: expected"),
        ("contenders=torch", "contenders: expected a list"),
        ("shapes=[[1,2,3]]", "shapes: expected a shape [T, B, I, H], four integers > 0 and <= 1048576, got [1, 2, 3]"),
        ("shapes=[[1,2,3,0]]", "shapes: expected a shape [T, B, I, H]"),
        ("shapes=4", "shapes: expected a list of shapes"),
        ("modes=[backward]", "modes: expected"),
        ("masked.options=[holes]", "masked.options: expected"),
        ("growth.T=[0]", "growth.T: expected a list of integers > 0 and <= 1048576, got [0]"),
        ("growth.I=[1]", "growth.I: unknown key"),
        ("rounds=0", "rounds: expected an integer > 0 and <= 10000, got 0"),
        ("round=3", 'round: unknown key; did you mean "rounds"?'),
        ("dtype=float64", "dtype: expected one of float32, bfloat16, got"),
        ("seconds_per_measurement=0", "seconds_per_measurement: expected a number > 0, got 0"),
    ],
)
def test_one_line_for_a_mistake(tiny, override, start):
    (line,) = mistakes(tiny, override)
    assert line.startswith(start)
    assert "\n" not in line


def test_a_near_name_is_offered(tiny):
    assert mistakes(tiny, "contenders=[linnen]")[0].endswith('got "linnen"; did you mean "linen"?')


BAD_INPUT = """
import json, os, sys
from experiments import cli
codes = [cli.main(["bench", *arguments]) for arguments in json.loads(sys.argv[1])]
print(json.dumps({"codes": codes, "jax": "jax" in sys.modules, "files": sorted(os.listdir())}))
"""


def test_mistakes_are_told_before_jax_is_imported_and_nothing_is_written(tiny):
    (tiny.parent / "not_ours").mkdir()
    (tiny.parent / "not_ours" / "file").touch()
    cases = {
        "no such file": ["nowhere.yaml"],
        "contenders: expected contenders out of": ["tiny.yaml", "contenders=[pytorch]"],
        "shapes: missing": ["../missing.yaml"],
        "has no config.yaml, so it is not a bench": ["tiny.yaml", "--run-dir", "not_ours"],
    }
    (tiny.parent.parent / "missing.yaml").write_text("contenders: [torch]\n")
    command = [sys.executable, "-W", "error", "-c", BAD_INPUT, json.dumps(list(cases.values()))]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=tiny.parent, env=environment, capture_output=True, text=True, timeout=120)
    result = json.loads(done.stdout)
    assert result == {"codes": [2] * len(cases), "jax": False, "files": ["not_ours", "tiny.yaml"]}
    for expected, line in zip(cases, done.stderr.splitlines(), strict=True):
        assert expected in line


def test_a_directory_of_another_config_is_refused(tiny):
    config = configs.load(BenchConfig, tiny)
    directory = BenchDirectory(tiny.parent / "run")
    assert directory.inspect(config) is None
    directory.path.mkdir()
    directory.begin(config, "command")
    assert directory.inspect(config) is None
    with pytest.raises(UserError) as caught:
        directory.inspect(configs.load(BenchConfig, tiny, ["rounds=3"]))
    assert caught.value.messages[1] == f"rounds: 9 in {directory.config}, 3 now"
    assert default_path(config, "bench") != default_path(configs.load(BenchConfig, tiny, ["rounds=3"]), "bench")


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("gru_jax", registry.Variant()),
        ("gru_jax:scan", registry.Variant(backend="scan")),
        ("gru_jax:vmap", registry.Variant(vmap=True)),
        ("gru_jax:scan,vmap,remat=32", registry.Variant("scan", vmap=True, remat=32)),
        *((name, None) for name in ("gru_jax:", "gru_jax:remat", "gru_jax:vmap,vmap", "gru_jax:scan,fused", "linen")),
    ],
)
def test_variants_are_spelt_in_the_name(name, variant):
    assert registry.variant_of(name) == variant


def test_missing_peers_are_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("haiku", "torch") else object())
    reasons = registry.missing(["gru_jax", "linen", "haiku", "torch"])
    assert list(reasons) == ["haiku", "torch"]
    assert reasons["haiku"] == 'dm-haiku is not installed: pip install -e ".[bench]"'
    assert "CPU build" in reasons["torch"]
