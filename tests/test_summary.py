"""`scratchvae summary`, compared with the tables in the models' tutorials."""

import json
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.__main__ import main
from scratchvae.models.inspect import rows, summary

CELEBA_ENDS = """\
            Conv2d-1           [-1, 32, 32, 32]             896
             Tanh-33            [-1, 3, 64, 64]               0
================================================================
Total params: 3,928,329
Trainable params: 3,928,329
Non-trainable params: 0
----------------------------------------------------------------
Input size (MB): 0.05
Forward/backward pass size (MB): 3.16
Params size (MB): 14.99
Estimated Total Size (MB): 18.19
----------------------------------------------------------------
"""


def test_celeba_prints_the_documents_table(capsys):
    """33 rows, 3,928,329 parameters, four sizes in MB, as in the tutorial."""
    assert main(["summary", "celeba"]) == 0
    heading, body = capsys.readouterr().out.split("=" * 64 + "\n", 1)
    assert heading.split() == ["-" * 64, "Layer", "(type)", "Output", "Shape", "Param", "#"]
    lines = body.splitlines(keepends=True)
    assert "".join([lines[0], *lines[32:]]) == CELEBA_ENDS
    table = rows(sv.models.build("celeba"))
    assert [(row.layer, row.output_shape) for row in table] == [
        *((layer, (C, n, n)) for C, n in ((32, 32), (64, 16), (128, 8), (256, 4), (512, 2))
          for layer in ("Conv2d", "BatchNorm2d", "LeakyReLU")),
        *(("Linear", (size,)) for size in (128, 128, 2048)),
        *((layer, (C, n, n)) for C, n in ((256, 4), (128, 8), (64, 16), (32, 32))
          for layer in ("ConvTranspose2d", "BatchNorm2d", "LeakyReLU")),
        *((layer, (3, 64, 64)) for layer in ("ConvTranspose2d", "BatchNorm2d", "Tanh")),
    ]  # fmt: skip
    assert [row.parameters for row in table if row.layer not in ("LeakyReLU", "Tanh")] == [
        896, 64, 18_496, 128, 73_856, 256, 295_168, 512, 1_180_160, 1_024, 262_272, 262_272,
        264_192, 1_179_904, 512, 295_040, 256, 73_792, 128, 18_464, 64, 867, 6,
    ]  # fmt: skip


def test_the_parameter_rows_of_the_tiny_document():
    """As the tutorial lists them, except for deconv1, where it repeats conv2's 4,640."""
    latent = 7
    table = rows(sv.models.build("tiny", latent_dim=latent))
    assert [row.parameters for row in table if row.layer != "ReLU"] == [
        160, 4_640, 0, *[32 * 4 * 4 * latent] * 3, 4_624, 145, 0,
    ]  # fmt: skip
    assert [row.output_shape for row in table if row.layer != "ReLU"] == [
        (16, 14, 14), (32, 7, 7), (32, 4, 4), (latent,), (latent,), (512,),
        (16, 7, 7), (1, 14, 14), (1, 28, 28),
    ]  # fmt: skip


def test_the_parameter_rows_of_the_conv_document():
    """As the tutorial lists them, except for fc3, where it has 64 too many."""
    table = [row for row in rows(sv.models.build("conv")) if row.layer != "ReLU"]
    assert [row.parameters for row in table] == [
        544, 32_832, 803_072, 5_140, 5_140, 5_376, 805_952, 32_800, 513,
    ]  # fmt: skip
    assert sum(row.parameters for row in table[:5]) == 846_728
    assert sum(row.parameters for row in table[5:]) == 844_641


def test_an_activation_has_a_row_after_its_layer():
    table = rows(sv.models.build("conv"))
    names = "Conv2d ReLU Conv2d ReLU Linear ReLU Linear Linear Linear ReLU Linear ReLU "
    assert [row.layer for row in table] == [
        *names.split(), "ConvTranspose2d", "ReLU", "ConvTranspose2d",
    ]  # fmt: skip
    for layer, activation in pairwise(table):
        if activation.layer == "ReLU":
            assert activation[:3] == ("ReLU", layer.output_shape, 0)


@pytest.mark.parametrize("name", sv.models.MODELS)
def test_every_parameter_is_in_a_row(name):
    model = sv.models.build(name)
    table = rows(model)
    assert sum(row.parameters for row in table) == model.flat_value.size
    assert f"Total params: {model.flat_value.size:,}\n" in summary(model)
    lines = summary(model).splitlines()
    heading, body = lines[1], lines[3 : 3 + len(table)]
    assert {len(line) for line in body} == {len(heading)}, "columns are aligned"


def test_skip_has_the_sizes_of_its_document():
    """H, H/2 ... H/64 down, and up again."""
    table = rows(sv.models.build("skip", image_shape=(3, 128, 192)))
    pools = [row.output_shape for row in table if row.layer == "MaxPool2d"]
    ups = [row.output_shape for row in table if row.layer == "ConvTranspose2d"]
    sizes = [(16, 2), (32, 4), (64, 8), (128, 16), (256, 32), (256, 64)]
    assert pools == [(C, 128 // f, 192 // f) for C, f in sizes]
    sizes = [(256, 32), (128, 16), (64, 8), (32, 4), (16, 2), (3, 1)]
    assert ups == [(C, 128 // f, 192 // f) for C, f in sizes]


def test_options(capsys):
    main(["summary", "celeba", "--latent-dim", "3", "--image-shape", "1", "32", "32"])
    out = capsys.readouterr().out
    assert "Linear-17                    [-1, 3]           1,539" in out
    assert "Input size (MB): 0.00\n" in out
    main(["summary", "skip", "--skips", "none", "--latent", "learned"])
    assert "Total params: 3,865,275\n" in capsys.readouterr().out


def test_the_model_is_as_it_was_before():
    model = sv.models.build("celeba", image_shape=(1, 32, 32), dtype="float64")
    before, x = model.state_dict(), np.zeros((2, 1, 32, 32))
    eps = model.noise(2, np.random.default_rng(0))
    model.loss(x, eps)
    summary(model)
    model.backward()  # the loss's caches are still there
    assert model.training and "forward" not in vars(model.fc_mu)
    for name, array in model.state_dict().items():
        if "running" not in name and "tracked" not in name:  # these change in the loss
            assert_array_equal(array, before[name])


def test_json_has_what_the_table_has(capsys):
    assert main(["summary", "celeba", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    table = summary(sv.models.build("celeba"))
    assert (found["model"], found["image_shape"]) == ("celeba", [3, 64, 64])
    assert f"Total params: {found['parameters']:,}\n" in table
    assert f"Estimated Total Size (MB): {found['megabytes']['total']:.2f}\n" in table
    for number, layer in enumerate(found["layers"], 1):
        row = f"{layer['layer']}-{number} {[-1, *layer['output_shape']]} {layer['parameters']:,}"
        assert row.split() in [line.split() for line in table.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["skip", "--latent-dim", "3"], "build: model 'skip' has no option latent_dim; it has "),
        (["tiny", "--image-shape", "1", "32", "32"], "Tiny: image_shape must be (1, 28, 28), "),
        (["conv", "--image-shape", "1", "30", "32"], "must be multiples of 4, got 30 x 32"),
        (["mlp", "--latent-dim", "0"], "build: latent_dim must be an int of at least 1, got 0"),
        (["mlp", "--image-shape", "1", "x", "1"], "argument --image-shape: invalid int value: 'x'"),
        (["skip", "--skips", "some"], "unknown choice 'some'; choose from all, deep, none"),
        (["mlp", "--image-shape", "9", "999999", "999999"], "Unable to allocate"),
    ],
)
def test_errors_are_one_line_after_the_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(["summary", *arguments])
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
