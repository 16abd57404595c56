"""Training may stop between any two steps and still ends with bit-identical results."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from runs.training import (
    everything,
    finish,
    small_config,
    small_data,
    through_a_file,
    train_with_stops,
    weights,
)

import scratchvae as sv
from scratchvae.data import Dataset, binarize, spread
from scratchvae.runs import trainer
from scratchvae.runs.data import images_of
from scratchvae.runs.trainer import Trainer
from scratchvae.train import evaluate_sampled, streams, train_epoch

# ---------------------------------------------------------------------- the plain loop


@pytest.mark.parametrize("model", ["mlp", "ae"])
def test_a_run_is_the_plain_loop(model):
    """The same results as a plain training loop, bit for bit."""
    data = small_data()
    ours = finish(Trainer(small_config(model, seed=7), data))
    theirs = sv.models.build(model, image_shape=(1, 4, 4), seed=7)
    optimizer = sv.optim.Adam(theirs, lr=1e-3)
    shuffle, noise, _, test_rng, *_ = streams(7)
    for epoch in range(3):
        losses = train_epoch(theirs, optimizer, data.train_images, 4, shuffle, noise)
        test = evaluate_sampled(theirs, data.test_images, deepcopy(test_rng))
        line = ours.history[epoch]
        for part, found in (("train", losses), ("test", test)):
            assert {n: line[f"{part}_{n}"] for n in found._fields} == found._asdict()
        assert line["lr"] == 1e-3 and line.get("kl_weight", 1.0) == 1.0
    assert_array_equal(weights(ours), theirs.flat_value)
    assert ours.step == 9 and ours.done


# ---------------------------------------------------------------------- stopping

KINDS = {
    "adam": {},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "lr": 1e-2},
    "binarize": {"binarize": True, "validation": 0.2},
    "clip and cosine": {"clip_norm": 0.5, "lr_schedule": "cosine", "lr_warmup": 1.3},
    "cyclical": {"kl_schedule": "cyclical", "kl_cycles": 2, "lr_schedule": "exponential"},
    "linear": {"kl_schedule": "linear", "kl_warmup": 2.5, "beta": 3.0, "free_bits": 0.01},
    "patience": {"validation": 0.2, "patience": 1, "lr": 0.1, "epochs": 6},
    "float64": {"dtype": "float64", "model": "ae"},
}
# after a step, or (.5) after the evaluation that follows it
stops = st.lists(st.integers(1, 9) | st.sampled_from([3.5, 6.5]), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(stops=stops)
def test_a_run_that_stops_comes_out_the_same(tmp_path, kind, stops):
    """Weights, averages, statistics, random states, history: bit for bit, wherever it stops."""
    config, data = small_config(**KINDS[kind]), small_data()
    straight = finish(Trainer(config, data))
    stopped = train_with_stops(config, data, stops, tmp_path / "checkpoint")
    assert everything(stopped) == everything(straight)


@pytest.mark.slow
@settings(max_examples=2)
@given(stops=stops)
def test_a_model_with_batch_norm_that_stops_comes_out_the_same(few_channels, tmp_path, stops):
    config = small_config("celeba", epochs=2, latent_dim=2)
    data = small_data((3, 32, 32), train=6)
    assert everything(train_with_stops(config, data, stops, tmp_path / "c")) == everything(
        finish(Trainer(config, data))
    )


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.5, "lr_schedule": "cosine", "kl_schedule": "linear", "kl_warmup": 2.0},
        {"optimizer": "sgd", "momentum": 0.9, "binarize": True, "validation": 0.2},
    ],
    ids=["adam", "sgd"],
)
@pytest.mark.slow
@settings(max_examples=3)
@given(stops=stops)
def test_a_run_on_the_gpu_that_stops_comes_out_the_same(cupy_on_host, tmp_path, options, stops):
    """Also the losses, which are summed on the GPU: the sum continues. On the stand-in for CuPy."""
    with sv.using("cuda"):
        config, data = small_config(**options, engine="cuda"), small_data()
        straight = finish(Trainer(config, data))
        stopped = train_with_stops(config, data, stops, tmp_path / "checkpoint")
        assert everything(stopped) == everything(straight)


def test_a_run_on_the_gpu_is_the_plain_loop(cupy_on_host):
    with sv.using("cuda"):
        data = small_data()
        ours = finish(Trainer(small_config(engine="cuda", clip_norm=None), data))
        theirs = sv.models.build("mlp", image_shape=(1, 4, 4)).to("cuda")
        optimizer, (shuffle, noise, *_) = sv.optim.Adam(theirs), streams(0)
        for line in ours.history:
            losses = train_epoch(theirs, optimizer, data.train_images, 4, shuffle, noise)
            assert line["train_total"] == losses.total
        assert_array_equal(weights(ours), theirs.flat_value.get())


def test_steps_that_were_left_go_on_in_the_same_trainer():
    """Without loading a checkpoint in between; making one does not change anything."""
    data = small_data()
    ours = Trainer(small_config(binarize=True), data)
    while not ours.done:
        for _ in ours.steps():
            ours.checkpoint()
            break
        if ours.batch == ours.steps_per_epoch:
            ours.end_epoch()
    assert everything(ours) == everything(finish(Trainer(small_config(binarize=True), data)))


def test_a_checkpoint_is_a_copy():
    ours = Trainer(small_config(), small_data())
    next(ours.steps())
    arrays, progress = ours.checkpoint()
    before = {n: a.copy() for n, a in arrays.items()}, json.dumps(progress)
    finish(ours)
    assert json.dumps(progress) == before[1]
    for name, a in arrays.items():
        assert_array_equal(a, before[0][name])


def test_an_epoch_ends_after_its_last_step_only():
    ours = Trainer(small_config(), small_data())
    next(ours.steps())
    with pytest.raises(RuntimeError, match="end_epoch: after 1 of 3 steps"):
        ours.end_epoch()


# ---------------------------------------------------------------------- what is refused


@pytest.fixture
def saved():
    """A checkpoint in the middle of the second epoch."""
    ours = Trainer(small_config(), small_data())
    for _ in ours.steps():
        pass
    ours.end_epoch()
    next(ours.steps())
    return ours.checkpoint()


def refused(state, said, config=None):
    """Check that the checkpoint is rejected and that the trainer is unchanged."""
    ours = Trainer(config or small_config(), small_data(seed=1))
    next(ours.steps())
    before = everything(ours)
    with pytest.raises(ValueError, match=said):
        ours.restore(*state)
    assert everything(ours) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latent_dim": 3}, "from a run with another optimizer or model"),
        ({"model": "ae"}, "history is missing or invalid"),
        ({"optimizer": "sgd"}, "from a run with another optimizer or model"),
        ({"dtype": "float64"}, "from a run with another optimizer or model"),
        ({"batch_size": 3}, "step is missing or invalid"),
        ({"validation": 0.1}, "history is missing or invalid"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(saved, options, said):
    refused(saved, said, small_config(**options))


PROGRESS = ["step", "epoch", "batch", "sums", "random", "history", "best_epoch", "best_score"]


@pytest.mark.parametrize("name", PROGRESS)
def test_missing_progress_is_refused(saved, name):
    arrays, progress = saved
    assert sorted(progress) == sorted(PROGRESS)
    del progress[name]
    refused((arrays, progress), f"the checkpoint's {name} is missing or invalid")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", 10**30),
        ("step", 3),
        ("epoch", -1),
        ("epoch", 10**30),
        ("epoch", 1.0),
        ("epoch", True),
        ("batch", -1),
        ("batch", 4),
        ("batch", None),
        ("sums", [0.0] * 3),
        ("sums", [0.0] * 4),
        ("sums", ["0", 0.0, 0.0, 4.0]),
        ("sums", [float("nan"), 0.0, 0.0, 4.0]),
        ("sums", [10**400, 0.0, 0.0, 4.0]),
        ("history", []),
        ("history", [{}]),
        ("history", [[1.0]]),
        ("best_epoch", 2),
        ("best_epoch", -1),
        ("best_score", float("nan")),
        ("best_score", 10**400),
        ("random", {}),
        ("random", []),
    ],
)
def test_absurd_progress_is_refused(saved, name, value):
    arrays, progress = saved
    refused(
        (arrays, progress | {name: value}),
        f"the checkpoint's {name} is missing or invalid|step",
    )


RANDOM = [None, {}, [], {"bit_generator": "MT19937"}]
RANDOM += [{"state": {"state": n, "inc": 1}} for n in (-1, 2**128, "1")]
RANDOM += [{"has_uint32": "x"}, {"uinteger": -1}, {"uinteger": 2**32}, {"state": None}]


@pytest.mark.parametrize("change", RANDOM)
def test_absurd_random_states_are_refused(saved, change):
    arrays, progress = saved
    state = progress["random"]["shuffle"]
    progress["random"]["shuffle"] = (
        state | change if isinstance(change, dict) and change else change
    )
    refused((arrays, progress), "invalid state of a random generator")


@pytest.mark.parametrize("name", ["model.fc1.weight", "optimizer.m"])
@pytest.mark.parametrize("change", ["missing", "surplus", "shape", "complex", "text"])
def test_other_tensors_are_refused(saved, name, change):
    arrays, progress = saved
    a = arrays.pop(name)
    if change == "surplus":
        arrays |= {name: a, f"{name}.more": a}
    elif change != "missing":
        arrays[name] = {"shape": a[..., None], "complex": a + 1j, "text": a.astype("S3")}[change]
    said = "with another optimizer or model" if "optimizer" in name else "load_state_dict"
    refused((arrays, progress), said)


def test_what_is_not_finite_is_not_saved():
    for name in ("model.fc1.bias", "optimizer.v"):
        ours = Trainer(small_config(), small_data())
        a = ours.optimizer.v if "v" in name else ours.model.fc1.bias.value
        a[1] = np.nan
        with pytest.raises(FloatingPointError, match=f"after step 0 {name} is not finite"):
            ours.checkpoint()


def test_a_restored_trainer_shares_nothing_with_the_checkpoint(saved):
    ours = Trainer(small_config(), small_data())
    ours.restore(*saved)
    before = json.dumps(saved[1])
    finish(ours)
    assert json.dumps(saved[1]) == before


@pytest.mark.slow
def test_restoring_forgets_what_came_before(cupy_on_host, tmp_path):
    """Also the losses that are still on the GPU."""
    with sv.using("cuda"):
        config, data = small_config(engine="cuda"), small_data()
        straight = Trainer(config, data)
        next(straight.steps())
        other = Trainer(config, data)
        for _ in other.steps():
            pass
        through_a_file(straight, other, tmp_path / "c")
        assert everything(finish(other)) == everything(finish(straight))


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize("split", ["spread", "tail"])
def test_validation_images_are_never_trained_on(monkeypatch, split):
    """They come from all parts of the list; in runs of format 1, they are the last ones."""
    data, seen = small_data(train=10), []
    held = {"spread": spread(3, 10), "tail": [7, 8, 9]}[split]
    rest = np.delete(np.arange(10), held)

    def watched(*args):
        for x in batches(*args):
            seen.extend(x.reshape(len(x), -1).tolist())
            yield x

    batches = trainer.batches
    monkeypatch.setattr(trainer, "batches", watched)
    ours = finish(Trainer(small_config(validation=0.3, split=split), data))
    assert_array_equal(ours.held_out_images, data.train_images[held])
    expected = (data.train_images[rest].reshape(7, -1) / np.float32(255)).tolist()
    assert sorted(seen) == sorted(expected * 3)
    assert ours.held_out == "validation" and "validation_total" in ours.history[0]
    found = evaluate_sampled(ours.model, data.train_images[held], streams(0).test)
    assert ours.history[-1]["validation_total"] == found.total


def test_a_folder_sorted_by_class_validates_on_every_class():
    """Three classes of 20 images, one after the other."""
    train = np.repeat(np.arange(3, dtype="uint8"), 20)[:, None, None] * np.ones((4, 4), "uint8")
    images = images_of(small_config(validation=0.2), Dataset("sorted", train, train[:5]))
    for part in (images.train[images.chosen], images.held_out):
        assert len(np.unique(part)) == 3
    assert len(images.chosen) == 48 and len(images.held_out) == 12


def test_validation_images_of_the_users_own_are_held_out():
    own = small_data(seed=1).test_images
    data = replace(small_data(), validation_images=own)
    ours = Trainer(small_config(patience=1), data)  # patience needs no share then
    assert ours.held_out_images is own and ours.held_out == "validation"
    assert ours.train_count == 11
    with pytest.raises(ValueError, match="validation: small has 5 validation images of its own"):
        Trainer(small_config(validation=0.2), data)


def test_patience_needs_validation_images():
    with pytest.raises(ValueError, match="patience needs validation images: set validation"):
        Trainer(small_config(patience=3), small_data())


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(ValueError, match=f"validation: {share} of 11 training images is (0|11)"):
        Trainer(small_config(validation=share), small_data())


def test_no_share_is_no_image():
    data = small_data()
    images = images_of(small_config(), data)
    assert len(images.train) == 11 and images.held_out is data.test_images
    assert images.which == "test"


@pytest.mark.parametrize(
    ("model", "shape"), [("mlp", (5, 4)), ("tiny", (4, 4)), ("mlp", (3, 4, 4))]
)
def test_images_that_do_not_fit_the_model_are_refused(model, shape):
    with pytest.raises(
        ValueError, match=f"the model {model} takes images of shape .*, but those of small"
    ):
        Trainer(small_config(model), small_data(shape))


def test_black_and_white_is_drawn_anew_in_each_epoch_and_once_for_what_is_held_out(monkeypatch):
    drawn, held_out = [], []

    def watched(*args):
        return drawn.append(binarize(*args)) or drawn[-1]

    def evaluate(model, images, rng):
        held_out.append(images)
        return evaluate_sampled(model, images, rng)

    data, config = small_data(train=40), small_config(binarize=True, validation=0.25)
    ours = Trainer(config, data)
    monkeypatch.setattr(trainer, "binarize", watched)
    monkeypatch.setattr(trainer, "evaluate_sampled", evaluate)
    finish(ours)
    assert len(drawn) == 3 and all(sv.data.is_binary(a) for a in drawn)
    assert len({a.tobytes() for a in drawn}) == 3
    mean = np.mean(drawn, axis=0).ravel()
    assert np.corrcoef(mean, data.train_images.ravel())[0, 1] > 0.5
    assert len(held_out) == 3 and len({id(a) for a in held_out}) == 1
    assert sv.data.is_binary(held_out[0]) and sv.data.is_binary(ours.test_images)
    again = images_of(config, data)
    assert_array_equal(again.held_out, held_out[0])
    assert_array_equal(again.test, ours.test_images)
    assert_array_equal(images_of(replace(config, validation=0.0), data).test, again.test)
    assert (images_of(replace(config, seed=1), data).test != again.test).any()
    assert images_of(replace(config, binarize=False), data).test is data.test_images


# ---------------------------------------------------------------------- rates


def test_the_kl_weight_reaches_the_loss_and_the_score_has_it_in_full():
    """Epochs of three steps, a warm-up of two epochs: the last steps have weights 2/6, 5/6, 1."""
    config = small_config(kl_schedule="linear", kl_warmup=2.0, beta=4.0, lr_schedule="cosine")
    ours, scores = Trainer(config, small_data()), []
    while not ours.done:
        losses, loss = [], ours.model.loss

        def watched(x, eps, loss=loss, losses=losses, **options):
            losses.append((ours.model.kl_weight, loss(x, eps, **options)))
            return losses[-1][1]

        ours.model.loss = watched
        for _ in ours.steps():
            pass
        ours.model.loss = loss
        for weight, found in losses:
            assert found.total == pytest.approx(found.reconstruction + weight * found.kl)
        first = 3 * ours.epoch
        expected = [4 * min(1, step / 6) for step in range(first, first + 3)]
        assert [weight for weight, _ in losses] == pytest.approx(expected)
        line = ours.end_epoch()
        assert line["kl_weight"] == pytest.approx(expected[-1])
        last = (1 + np.cos(np.pi * (first + 2) / 9)) / 2
        assert line["lr"] == pytest.approx(1e-3 * last)
        total = line["test_reconstruction"] + line["kl_weight"] * line["test_kl"]
        assert line["test_total"] == pytest.approx(total)
        scores.append(line["test_reconstruction"] + 4 * line["test_kl"])
    assert ours.best_score == min(scores) and scores[ours.best_epoch - 1] == min(scores)


def test_a_weight_that_starts_over_is_not_the_one_an_epoch_is_judged_with():
    """One cycle per epoch: the step after the last one would have weight 0."""
    config = small_config(kl_schedule="cyclical", kl_cycles=3)
    assert [line["kl_weight"] for line in finish(Trainer(config, small_data())).history] == [
        1.0
    ] * 3


# ---------------------------------------------------------------------- patience


def scored(monkeypatch, scores):
    """Make evaluations return these reconstruction losses, one after the other."""
    left = iter(scores)
    monkeypatch.setattr(
        trainer, "evaluate_sampled", lambda *_: sv.ops.Losses(1.0, float(next(left)), 0.0)
    )


def test_patience_stops_after_the_right_epoch(monkeypatch):
    scored(monkeypatch, [5, 4, 4, 3, 3.5, 3, 2])
    config = small_config(validation=0.2, patience=2, epochs=10)
    ours, best = Trainer(config, small_data()), []
    while not ours.done:
        for _ in ours.steps():
            assert not ours.done
        ours.end_epoch()
        best.append(ours.best_epoch == ours.epoch)
    assert best == [True, True, False, True, False, False]
    assert (ours.epoch, ours.best_epoch, ours.best_score) == (6, 4, 3.0)


def test_a_run_that_ran_out_of_patience_stays_done_and_one_of_few_epochs_goes_on(monkeypatch):
    scored(monkeypatch, [5, 6, 4, 3])
    config, data = small_config(validation=0.2, patience=1, epochs=10), small_data()
    state = finish(Trainer(config, data)).checkpoint()
    for epochs in (10, 20):
        again = Trainer(replace(config, epochs=epochs), data)
        again.restore(*state)
        assert again.done and again.epoch == 2
    longer = Trainer(replace(config, epochs=4, patience=None), data)
    longer.restore(*state)
    assert not longer.done and finish(longer).epoch == 4


def test_an_epoch_that_has_begun_is_finished_even_if_the_run_is_shortened(tmp_path):
    """Otherwise its weights would be taken for those of the epoch before."""
    config, data = small_config(), small_data()
    ours = Trainer(config, data)
    for _ in range(2):
        for _ in ours.steps():
            pass
        ours.end_epoch()
    next(ours.steps())
    short = through_a_file(ours, Trainer(replace(config, epochs=2), data), tmp_path / "c")
    assert not short.done and finish(short).epoch == 3


# ---------------------------------------------------------------------- divergence


def test_a_loss_that_is_not_finite_ends_the_training(monkeypatch):
    ours = Trainer(small_config("ae"), small_data())
    ours.model.fc2.weight.value[0, 0] = np.nan
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError, match="the loss of step 1 is nan; .* is the weight fc2.weight"
        ),
    ):
        next(ours.steps())
    assert ours.step == 0 == ours.batch


def test_an_evaluation_that_is_not_finite_ends_the_training(monkeypatch):
    ours = Trainer(small_config(), small_data())
    for _ in ours.steps():
        pass
    before = everything(ours)
    scored(monkeypatch, [np.inf])
    with pytest.raises(FloatingPointError, match=r"^test_reconstruction of epoch 1 is inf$"):
        ours.end_epoch()
    assert everything(ours) == before


def test_a_loss_on_the_gpu_that_is_not_finite_is_named(cupy_on_host, monkeypatch):
    with sv.using("cuda"):
        ours = Trainer(small_config(engine="cuda"), small_data())
        ours.model.flat_value[3] = float("nan")
        for _ in ours.steps():
            pass
        with pytest.raises(FloatingPointError, match="the loss of step 1 was not finite"):
            ours.checkpoint()
        ours = Trainer(small_config(engine="cuda"), small_data())
        ours.model.flat_value[3] = float("nan")
        monkeypatch.setattr("scratchvae.gpu.graph.CHECK_EVERY", 2)
        with pytest.raises(FloatingPointError, match="the loss of step 1 was not finite"):
            for _ in ours.steps():
                pass
        assert ours.step == 2


def test_a_last_batch_that_cannot_be_trained_on_is_refused_before_the_first_step():
    """celeba at 32 x 32 has a batch norm over maps of 1 x 1."""
    with pytest.raises(ValueError, match="batch_size: 9 images in batches of 4 leave a last ba"):
        Trainer(small_config("celeba"), small_data((3, 32, 32), train=9))
    Trainer(small_config("celeba"), small_data((3, 32, 32), train=10))
