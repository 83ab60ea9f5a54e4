import json

import jax

from experiments.runs import environment


def test_environment_names_versions_device_and_data():
    facts = environment.describe({"sha256": "ab", "rows": 3})
    assert facts["packages"]["jax"] == jax.__version__
    assert facts["device"].startswith(jax.devices()[0].platform)
    assert facts["cores"] >= 1
    assert facts["data"] == {"sha256": "ab", "rows": 3}
    assert json.loads(json.dumps(facts)) == facts


def test_changes_between_start_and_resumption_are_listed():
    before = {"device": "cpu", "packages": {"jax": "0.10.2", "numpy": "2.0"}, "git": "abc"}
    now = {"device": "cuda (H100)", "packages": {"jax": "0.11.0", "numpy": "2.0"}, "git": "def"}
    assert environment.changes(before, now) == ["device: cpu -> cuda (H100)", "jax: 0.10.2 -> 0.11.0"]
    assert environment.changes(before, before) == []


def test_another_backend_is_a_change_where_the_run_wrote_its_own_down():
    before = {"device": "cpu", "backend": "fused", "packages": {}}
    now = before | {"backend": "scan"}
    assert environment.changes(before, now) == ["backend: fused -> scan"]
    assert environment.changes({"device": "cpu", "packages": {}}, now) == []
