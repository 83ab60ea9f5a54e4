"""Exported StableHLO against the models themselves, read back from its file and called without them."""

import jax
import numpy as np
import pytest

import gru_jax.export
from experiments.export import program
from experiments.export.signature import call_signature, search_signature
from experiments.tasks.inputs import Frames, MeasuredFeatures, Sentences, Tokens, Vectors
from tests.experiments.export.made_models import LENGTHS, STEPS, made, task_of

SENTENCES = task_of(Sentences(5, 4, start=0, end=1, max_steps=3), per_step=True, outputs=4)
FRAMES = task_of(Frames(4, 4, 1), per_step=True, loss="squared_error", outputs=16)
MEASURED = task_of(MeasuredFeatures(2), loss="bernoulli", outputs=1)
CONV = {"cell": {"name": "conv_gru", "patch_size": 2}}


def read_back(exported, folder):
    path = folder / "model.stablehlo"
    gru_jax.export.save_stablehlo(path, exported)
    written = path.read_bytes()
    assert b".py" not in written
    assert __file__.encode().rpartition(b"/")[0] not in written
    again = gru_jax.export.load_stablehlo(path)
    assert again.platforms == ("cpu", "cuda", "tpu")
    return again


def called(exported, signature, given):
    """Outputs by name, which have the shapes of the signature; ``given``: arrays in its order."""
    found = exported.call(**dict(zip([value.name for value in signature.inputs], given, strict=True)))
    sizes = {}
    for value, array in zip(signature.inputs, given, strict=True):
        sizes |= {letter: size for letter, size in zip(value.shape, array.shape, strict=True) if letter != size}
    for value in signature.outputs:
        assert found[value.name].shape == tuple(sizes.get(size, size) for size in value.shape)
        assert found[value.name].dtype == value.dtype
    assert sorted(found) == sorted(value.name for value in signature.outputs)
    return {name: np.asarray(array) for name, array in found.items()}


def close(found, expected):
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-5, atol=1e-5)


def test_members_that_pool_judged_tokens(tmp_path):
    task = task_of(Tokens(5))
    model, params, inputs = made(task, judged=True, readout="attention", members=2, cell="min_gru")
    signature = call_signature(task, model, inputs)
    exported = read_back(program.call_program(task, model, params, signature), tmp_path)
    found = called(exported, signature, (*inputs, LENGTHS))
    said = jax.jit(lambda *given: model.apply(params, *given, method="pooled"))(inputs, LENGTHS)
    close(found["outputs"], said.outputs)
    close(found["weights"], said.weights)
    # Other sizes of the free axes.
    shorter = called(exported, signature, (inputs.tokens[1:2, :3], inputs.logits[1:2], LENGTHS[2:3]))
    assert shorter["weights"].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("beam_size", [1, 2])
def test_an_encoder_decoder_and_its_search(beam_size, tmp_path):
    longer = {"length_penalty": 4.0} if beam_size > 1 else {}
    model, params, inputs = made(SENTENCES, bidirectional=True, input_features=3, beam_size=beam_size, **longer)
    if beam_size == 1:
        signature = call_signature(SENTENCES, model, inputs)
        exported = read_back(program.call_program(SENTENCES, model, params, signature), tmp_path)
        found = called(exported, signature, (*inputs, LENGTHS))
        close(found["outputs"], jax.jit(model.apply)(params, inputs, LENGTHS))
    signature = search_signature(SENTENCES.inputs)
    exported = read_back(program.search_program(SENTENCES, model, params, signature), tmp_path)
    found = called(exported, signature, (inputs.source, LENGTHS))
    best = jax.jit(lambda *given: model.apply(params, *given, method="translate"))(inputs, LENGTHS)
    np.testing.assert_array_equal(found["tokens"], best.tokens)
    np.testing.assert_array_equal(found["lengths"], best.lengths)
    close(found["weights"], best.weights)
    assert len(set(map(tuple, found["tokens"].tolist()))) > 1


STREAMS = {
    "two lstms over tokens": (task_of(Tokens(5), per_step=True), {"cell": "lstm", "num_layers": 2}),
    "the last step, of vectors": (task_of(Vectors(2)), {"input_features": 3}),
    "a gru_d": (MEASURED, {"cell": "gru_d"}),
    "frames": (FRAMES, CONV | {"num_layers": 2}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_steps_of_a_stream_are_the_whole(name, tmp_path):
    task, config = STREAMS[name]
    model, params, inputs = made(task, **config)
    lengths = None if task is FRAMES else np.full(len(LENGTHS), STEPS, np.int32)
    # Padding is no part of a stream.
    inputs = jax.tree.map(lambda leaf: np.nan_to_num(leaf, nan=0.5), inputs)
    assert program.streams(model, inputs)
    exported, signature = program.step_program(task, model, params)
    exported = read_back(exported, tmp_path)
    states = [value for value in signature.inputs if value.name.startswith("carry")]
    carry = {value.name: np.zeros((len(LENGTHS), *value.shape[1:]), value.dtype) for value in states}
    said = []
    for step in range(STEPS):
        here = jax.tree.leaves(jax.tree.map(lambda leaf, step=step: leaf[:, step], inputs))
        carry = called(exported, signature, (*carry.values(), *here))
        said.append(carry.pop("outputs"))
        carry = {value.name: carry[value.name] for value in states}
    whole = jax.jit(model.apply)(params, inputs, lengths)
    close(np.stack(said, axis=1) if task.per_step else said[-1], whole)


def test_names_of_states():
    task, config = STREAMS["two lstms over tokens"]
    model, params, _ = made(task, **config)
    _, signature = program.step_program(task, model, params)
    names = ["carry_0_h", "carry_0_c", "carry_1_h", "carry_1_c"]
    assert sorted(value.name for value in signature.inputs) == sorted([*names, "inputs"])
    assert sorted(value.name for value in signature.outputs) == sorted([*names, "outputs"])


def test_what_has_no_steps_of_its_own():
    for task, config in [
        (task_of(Vectors(2)), {"bidirectional": True}),
        (task_of(Vectors(2)), {"readout": "mean"}),
        (task_of(Vectors(2)), {"members": 2}),
        (SENTENCES, {}),
    ]:
        model, _, inputs = made(task, **config)
        assert not program.streams(model, inputs)
    model, _, inputs = made(task_of(Tokens(5)), judged=True)
    assert not program.streams(model, inputs)
