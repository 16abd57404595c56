"""The split into training and test images: any folder of images, and CelebA with its list."""

import json
import os
import shutil
from functools import partial

import numpy as np
import pytest
from hostile import bounded, pipe, sparse
from photographs import values, write_grey, write_photograph
from PIL import Image

from scratchvae.data import load_celeba, load_folder, spread


@pytest.fixture
def load(tmp_path):
    """`load_folder` for the folder `photographs`, with a cache for this test only."""

    def load(**options):
        options = {"image_size": 2} | options
        return load_folder(tmp_path / "photographs", cache_dir=tmp_path / "cache", **options)

    return load


def write_many(folder, count):
    for i in range(count):
        write_grey(folder / f"{i:03}.png", i)


def test_finds_every_spelling_in_every_subfolder_in_order(tmp_path, load, capsys):
    names = ["B.JPG", "a.jpeg", "b/a.Png", "b/c/d.jpg", "b/c/é ü.PNG", "c.png"]
    for i, name in enumerate(names):
        write_grey(tmp_path / "photographs" / name, 10 * i)
    for name in ("notes.txt", "x.heic", "jpg", "._a.jpeg"):  # macOS leaves files like the last one
        (tmp_path / "photographs" / name).write_text("no image")
    (tmp_path / "photographs" / "folder.png").mkdir()
    (tmp_path / "photographs" / "round and round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "photographs" / "pipe.png")  # reading it would wait forever
    data = load(test_share=0.01)
    assert data.name == "images:photographs"
    assert data.train_labels is None and data.test_labels is None
    (k,) = spread(1, 6)
    assert values(data.test_images) == [10 * k] and list(data.test_names) == [names[k]]
    assert values(data.train_images) == [10 * i for i in range(6) if i != k]
    assert capsys.readouterr().err.startswith(
        "photographs: 10 files: 6 read, 4 of other formats left out (heic 1, no extension 1, no "
        "file 1, ...), 1 link to folders not followed\n"
    )


@pytest.mark.parametrize(
    ("count", "share", "test"),
    [(40, 0.1, 4), (25, 0.1, 2), (6, 0.5, 3), (3, 0.99, 2), (2, 0.5, 1), (2, 0.001, 1)],
)
@pytest.mark.parametrize("split", ["spread", "tail"])
def test_each_stretch_of_the_list_gives_a_test_image(tmp_path, load, split, count, share, test):
    write_many(tmp_path / "photographs", count)
    data = load(test_share=share, split=split)
    chosen = values(data.test_images)
    assert [k * test // count for k in chosen] == list(range(test))
    assert values(data.train_images) == [i for i in range(count) if i not in chosen]


def test_a_run_of_version_0_1_finds_its_images_again(tmp_path, load):
    """Hidden folders, train/ and test/ in one list; JPEG and PNG alone; the middle of each
    stretch."""
    names = [".cache/a.png", "b.jpg", "b.jpeg", "d.webp", "test/e.png", "train/f.png", "x.bmp"]
    for i, name in enumerate(names):
        write_grey(tmp_path / "photographs" / name, i)
    data = load(test_share=0.4, split="tail")
    assert [*data.train_names] == [".cache/a.png", "b.jpg", "train/f.png"]
    assert [*data.test_names] == ["b.jpeg", "test/e.png"]


def write_all(folder, names):
    for i, name in enumerate(names):
        write_grey(folder / name, i)


HIDDEN_FOLDERS = [
    *(".ipynb_checkpoints", ".thumbnails", ".git", ".Trash-1000", "__MACOSX", "@eaDir"),
    *("$RECYCLE.BIN", "#recycle", "lost+found", "System Volume Information"),
]


@pytest.mark.parametrize("hidden", HIDDEN_FOLDERS)
@pytest.mark.parametrize("inside", ["", "b/"])
def test_hidden_folders_are_no_data_except_the_one_that_is_named(
    tmp_path, load, capsys, hidden, inside
):
    names = ["a.png", "b/c.png", f"{inside}{hidden}/deep/a.png", f"{inside}{hidden}/deep/b.png"]
    write_all(tmp_path / "photographs", names)
    data = load()
    assert sorted([*data.train_names, *data.test_names]) == ["a.png", "b/c.png"]
    said = capsys.readouterr().err.splitlines()[0]
    assert said.endswith(f"2 files: 2 read, 1 hidden folder left out ({inside}{hidden})")
    folder = tmp_path / "photographs" / inside / hidden
    assert load_folder(folder, image_size=2, cache_dir=tmp_path / "cache").train_names


@pytest.mark.parametrize("test", ["test", "Testing", "val", "valid", "validation"])
@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("place", ["", "data/", "cats/"])
def test_train_beside_test_is_the_split(tmp_path, load, capsys, place, train, test):
    names = [f"{train}/{i}.png" for i in range(4)] + [f"{test}/{i}.png" for i in range(3)]
    names = [place + name for name in names]
    write_all(tmp_path / "photographs", [*names, "beside.png", f"{place}other/beside.png"])
    data = load()
    assert [*data.train_names] == names[:4] and values(data.train_images) == [0, 1, 2, 3]
    assert [*data.test_names] == names[4:] and values(data.test_images) == [4, 5, 6]
    assert data.validation_images is None
    assert capsys.readouterr().err.splitlines()[0] == (
        "photographs: 9 files: 7 read, 2 outside the folders of the split left out, split by "
        "folders: 4 for training, 3 for testing"
    )


def test_a_link_that_is_named_train_does_not_turn_test_into_a_class(tmp_path, load):
    write_all(tmp_path / "photographs", ["real/a.png", "real/b.png", "test/c.png"])
    (tmp_path / "photographs/train").symlink_to(tmp_path / "photographs/real")
    with pytest.raises(ValueError, match="1 link to folders not followed"):
        load()


@pytest.mark.parametrize("names", [["train/a.png", "b.png"], ["test/a.png", "val/b.png"]])
def test_one_folder_alone_is_no_split(tmp_path, load, names):
    write_all(tmp_path / "photographs", names)
    assert len(load().train_images) == 1


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_part_is_refused(tmp_path, load, empty):
    write_all(tmp_path / "photographs", ["test/a.png", "train/b.png"])
    (tmp_path / "photographs" / empty / ("b.png" if empty == "train" else "a.png")).unlink()
    with pytest.raises(ValueError, match="one for training and one for testing; 1 file: 1 to read"):
        load()


def test_the_same_picture_in_train_and_test_is_said(tmp_path, load, capsys):
    for i, name in enumerate(["test/a", "test/b", "train/b", "train/c", "test/copy"]):
        write_photograph(tmp_path / f"photographs/{name}.png", min(i, 3))
    load()
    said = (
        "warning: photographs: 1 of 3 test images are training images, too (test/copy.png = train/c"
    )
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("top", ["", "flowers/photographs/"])
def test_subfolders_are_classes_and_all_are_in_both_parts(tmp_path, load, top):
    for kind in ("daisy", "rose", "tulip"):
        write_all(tmp_path / "photographs" / top / kind, [f"{i:02}.png" for i in range(20)])
    data = load(test_share=0.2)
    assert data.classes == ["daisy", "rose", "tulip"]
    for names, labels in (
        (data.train_names, data.train_labels),
        (data.test_names, data.test_labels),
    ):
        assert {*labels.tolist()} == {0, 1, 2}
        assert [data.classes[k] for k in labels] == [name.split("/")[-2] for name in names]


def test_train_val_and_test_have_the_labels_inside(tmp_path, load):
    names = ["test/b/0.png", "train/a/1.png", "train/b/2.png", "val/a/x/3.png", "val/b/4.png"]
    write_all(tmp_path / "photographs", names)
    data = load()
    assert data.classes == ["a", "b"]
    assert values(data.train_images) == [1, 2] and data.train_labels.tolist() == [0, 1]
    assert values(data.test_images) == [0] and data.test_labels.tolist() == [1]
    assert values(data.validation_images) == [3, 4] and data.validation_labels.tolist() == [0, 1]
    assert [*data.validation_names] == names[3:]


@pytest.mark.parametrize("heading", ["", "file,class\n"])
def test_labels_from_a_file(tmp_path, load, capsys, heading):
    write_all(tmp_path / "photographs", ["1.png", "2.png", "x/3.png", "4.png"])
    rows = "1.png,ripe\n.\\2.png,raw\n3.png,ripe\nother.png,raw\n"
    (tmp_path / "photographs/labels.csv").write_text(heading + rows)
    data = load()
    labels = dict(zip(data.train_names, data.train_labels, strict=True))
    labels |= dict(zip(data.test_names, data.test_labels, strict=True))
    found = {name: data.classes[label] for name, label in labels.items()}
    assert found == {"1.png": "ripe", "2.png": "raw", "x/3.png": "ripe", "4.png": "none"}
    err = capsys.readouterr().err
    assert "photographs: 4 files: 4 read\n" in err
    assert "labels.csv has no class for 1 of 4 images" in err


def test_one_image_outside_the_classes_is_said(tmp_path, load, capsys):
    write_all(tmp_path / "photographs", ["cat/a.png", "dog/b.png", "stray.png"])
    assert load().classes is None
    said = "photographs: no classes, because 1 image of 3 lies outside the subfolders"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"1.png\n", "1.png,a\n".encode("utf-16"), b'"1.png,a\n' + b"x" * 200_000]
)
def test_a_damaged_file_of_labels_is_refused(tmp_path, load, content):
    write_many(tmp_path / "photographs", 3)
    (tmp_path / "photographs/labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.csv"):
        load()


def test_loops_of_links_and_deep_folders(tmp_path, load, capsys):
    write_many(tmp_path / "photographs", 3)
    for name in ("loop", "a-loop.png"):
        (tmp_path / "photographs" / name).symlink_to(tmp_path / "photographs" / name)
    deep = tmp_path / "photographs"
    for _ in range(1500):
        deep = deep / "d"
        deep.mkdir()
    write_grey(deep / "a.png", 9)
    data = load()
    assert len(data.train_images) + len(data.test_images) == 4
    assert "1 cannot be read (a-loop.png: Too many levels of symbolic" in capsys.readouterr().err
    while deep != tmp_path / "photographs":  # pytest cannot delete so deep a folder
        shutil.rmtree(deep)
        deep = deep.parent


@pytest.mark.parametrize("suffix", [".jpg", ".jfif", ".webp", ".bmp", ".tif", ".gif", ".ppm"])
def test_every_format(tmp_path, load, suffix):
    for i in range(2):
        path = tmp_path / "photographs" / f"{i}{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (10, 200, 90)).save(path)
    image = load().train_images[0].astype(int)
    assert np.abs(image - np.array([10, 200, 90])[:, None, None]).max() < 12


@pytest.mark.parametrize("grey", [False, True])
def test_sizes_shapes_and_colours(tmp_path, load, grey):
    write_many(tmp_path / "photographs", 2)
    for size, shape in {7: (7, 7), "5x4": (4, 5), (6, 8): (6, 8), "native": (3, 3)}.items():
        found = load(image_size=size, grey=grey).train_images
        assert found.shape == (1, 1 if grey else 3, *shape)


def test_native_needs_one_size(tmp_path, load):
    write_many(tmp_path / "photographs", 5)
    Image.new("L", (9, 4)).save(tmp_path / "photographs/x.png")
    with pytest.raises(ValueError, match=r"one size, found 3 x 3 and 9 x 4 \(x\.png\): choose"):
        load(image_size="native")


def test_dark_images_are_doubted(tmp_path, load, capsys):
    for i in range(4):
        write_grey(tmp_path / "photographs" / f"{i}.png", i % 2)
    load()
    assert "warning: photographs: the brightest pixel of all 3 images is 1 of 255" in (
        capsys.readouterr().err
    )
    data = load(value_range=(0, 1))
    assert {*values(data.train_images), *values(data.test_images)} == {0, 255}
    assert "brightest" not in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1])
def test_needs_two_images(tmp_path, load, count):
    (tmp_path / "photographs").mkdir()
    write_many(tmp_path / "photographs", count)
    with pytest.raises(ValueError) as caught:
        load()
    assert str(caught.value) == (
        f"{tmp_path / 'photographs'}: expected at least 2 images, one for training and one for "
        f"testing; {count} file{'s' * (count != 1)}: {count} to read"
    )


def test_no_folder(tmp_path, load):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'photographs'}"):
        load()
    (tmp_path / "photographs").write_text("a file")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load()


BAD_SIZES = (0, -1, 64.0, True, "64x", "x64", "64*64", "0x5", "99999", "large", (1,), [4, 4])
BAD_RANGES = ("1", "1,1", "nan,1", "0,inf", "a,b", (0, 1, 2), "1," * 999, [[1] * 999] * 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"image_size": size}, "image_size: expected a number .*") for size in BAD_SIZES),
        *(({"crop": crop}, "crop: expected center or none .*") for crop in (-1, 0, True, "top")),
        *(
            ({"background": c}, "background: expected white, .*")
            for c in ("red", "1,2", (0, 0, 256), (1.9, 2, 3))
        ),
        *(({"value_range": r}, "value_range: expected BLACK,WHITE.*") for r in BAD_RANGES),
        ({"grey": "no"}, "grey: expected True or False, got 'no'"),
        ({"split": "half"}, "split: expected spread or tail, found 'half'"),
        ({"test_share": 0}, "expected a test_share between 0 and 1, found 0"),
        ({"test_share": 1.0}, "expected a test_share between 0 and 1, found 1.0"),
    ],
)
def test_refuses(tmp_path, options, message):
    for load in (load_folder, load_celeba):
        if load is load_folder or not options.keys() & {"test_share", "split"}:
            with pytest.raises(ValueError, match=f"^{message}$") as caught:
                load(tmp_path, **options)
            assert len(str(caught.value)) < 200


def test_a_subfolder_that_cannot_be_searched_is_not_passed_over(tmp_path, load, monkeypatch):
    write_many(tmp_path / "photographs", 3)
    (tmp_path / "photographs" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        load()


def test_links_to_files_are_followed_and_broken_ones_reported(tmp_path, load, capsys):
    write_many(tmp_path / "elsewhere", 3)
    (tmp_path / "photographs").mkdir()
    for i in range(-1, 3):  # there is no -01.png
        (tmp_path / "photographs" / f"{i}.png").symlink_to(tmp_path / "elsewhere" / f"{i:03}.png")
    data = load()
    assert sorted(values(data.train_images) + values(data.test_images)) == [0, 1, 2]
    assert "4 files: 3 read, 1 cannot be read (-1.png: No such file" in capsys.readouterr().err


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_many(tmp_path / "photographs", 2)
    assert len(load_folder("~/photographs", image_size=2, cache_dir="~/cache").train_images) == 1
    assert (tmp_path / "cache").is_dir()


LINES = ["1.png 0", "2.png 1", "3.png 2", "4.png 0"]


def write_celeba(folder, lines=LINES):
    for i in range(1, 5):
        write_grey(folder / "img_align_celeba" / f"{i}.png", i)
    (folder / "list_eval_partition.txt").write_bytes("\n".join(lines).encode() + b"\n")


def load_values(folder):
    """The training and the test images of CelebA, by value."""
    data = load_celeba(folder, image_size=2, cache_dir=folder / "cache")
    assert data.name == "celeba" and data.train_labels is data.test_labels is None
    return values(data.train_images), values(data.test_images)


@pytest.mark.parametrize("inner", ["", "celeba"])
def test_celeba_keeps_the_split_of_its_authors(tmp_path, inner):
    write_celeba(tmp_path / inner)
    assert load_values(tmp_path) == ([1, 4], [3])


def test_celeba_with_another_split_is_decoded_anew(tmp_path):
    for part, train, test in ((0, [1, 2], [3]), (2, [1], [2, 3])):
        write_celeba(tmp_path, ["1.png 0", f"2.png {part}", "3.png 2"])
        for i in range(1, 5):
            os.utime(tmp_path / "img_align_celeba" / f"{i}.png", (1, 1))
        assert load_values(tmp_path) == (train, test)


def test_celeba_files_that_are_listed_but_absent(tmp_path, capsys):
    write_celeba(tmp_path, ["\ufeff" + LINES[0], *LINES[1:], "5.png 2", "6.png 0"])  # a BOM, too
    assert load_values(tmp_path) == ([1, 4], [3])
    assert capsys.readouterr().err.startswith(
        f"celeba: 2 of 5 listed files are not in {tmp_path / 'img_align_celeba'} (6.png, 5.png)\n"
    )
    write_celeba(tmp_path, [f"{i}.jpg {i % 3}" for i in range(25)])
    with pytest.raises(FileNotFoundError, match=r"^none of the 17 files that .*txt names is in /"):
        load_celeba(tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("doubled", [False, True])
def test_celeba_as_kaggle_has_it(tmp_path, doubled):
    write_celeba(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    rows = [line.replace(" ", ",") for line in LINES]
    (tmp_path / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *rows]))
    if doubled:
        (tmp_path / "img_align_celeba").rename(tmp_path / "inner")
        (tmp_path / "img_align_celeba").mkdir()
        (tmp_path / "inner").rename(tmp_path / "img_align_celeba/img_align_celeba")
    assert load_values(tmp_path) == ([1, 4], [3])


@pytest.mark.parametrize("missing", ["img_align_celeba", "list_eval_partition.txt", "both"])
def test_celeba_says_what_must_lie_where(tmp_path, missing):
    write_celeba(tmp_path)
    for name in ("img_align_celeba", "list_eval_partition.txt"):
        if missing in (name, "both"):
            (tmp_path / name).rename(tmp_path / f"no {name}")
    with pytest.raises(FileNotFoundError) as caught:
        load_celeba(tmp_path)
    assert str(caught.value) == (
        f"celeba is not in {tmp_path}: expected the folder img_align_celeba/ (unpacked from "
        "img_align_celeba.zip) and the file list_eval_partition.txt or list_eval_partition.csv, "
        f"both there or both in {tmp_path / 'celeba'}"
    )


NO_PLAIN_NAMES = ("/etc/5", "../5", ".. 0", "a\\5", "C:5", "5\0", "\udcff")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        *((line, "a file name and 0, 1 or 2") for line in ("5", "5 0 0", "", "5 3", "5 -1", "5;0")),
        *((f"{name} 0".replace(" 0 0", " 0"), "a plain file name") for name in NO_PLAIN_NAMES),
        ("2.png 0", "every file once"),
    ],
)
def test_celeba_refuses_a_damaged_list(tmp_path, line, fault):
    path = tmp_path / "list_eval_partition.txt"
    write_celeba(tmp_path, [*LINES[:2], "LINE", *LINES[2:]])
    path.write_bytes(path.read_bytes().replace(b"LINE", line.encode(errors="surrogateescape")))
    with pytest.raises(ValueError) as caught:
        load_celeba(tmp_path)
    assert str(caught.value).startswith(f"{path}, line 3: expected {fault}")
    found = line.encode(errors="surrogateescape").decode(errors="backslashreplace")
    assert str(caught.value).endswith(f"found {found!r}")


def test_celeba_list_of_one_endless_line(tmp_path):
    write_celeba(tmp_path)
    for content in (b"", b"a" * 5000):
        sparse(tmp_path / "list_eval_partition.txt", 1 << 26, content)
        with bounded(), pytest.raises(ValueError, match=r"line 1: .*, found '.{80,330}'$"):
            load_celeba(tmp_path)


CONFIG = {"format": 2, "options": {"model": "mlp"}, "run": {}}


def write_run(folder, config=CONFIG):
    """A run with plots, its config as JSON or as bytes."""
    write_all(folder, ["loss.png", "pictures/epoch-0001-samples.png"])
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "config.json").write_bytes(content)


@pytest.mark.parametrize("split", ["spread", "tail"])
@pytest.mark.parametrize("inside", [["runs/celeba"], ["a", "a/b/c", "d"], ["train", "test"]])
def test_runs_among_the_images_are_skipped(tmp_path, load, capsys, split, inside):
    """At any depth, also if their names are those of a split; a run in a run counts once."""
    names = ["a.png", "b.png", "y/c.png"]
    write_all(tmp_path / "photographs", names)
    for name in inside:
        write_run(tmp_path / "photographs" / name, CONFIG | {"format": len(name)})
    data = load(split=split)
    assert sorted([*data.train_names, *data.test_names]) == names and data.classes is None
    said = capsys.readouterr().err.splitlines()[0]
    count = len({name.split("/")[0] for name in inside})
    assert said.endswith(f"3 files: 3 read, {count} run{'s' * (count > 1)} of scratchvae skipped")


NO_RUNS = {
    "Hugging Face": {"model_type": "vit", "image_size": 224},
    "no number": CONFIG | {"format": "2"},
    "no options": {"format": 2},
    "a list": [CONFIG],
    **{
        repr(text[:9]): text for text in (b"", b'{"format": 2', b"\xff", b"[" * 99_999, b"9" * 5000)
    },
    "large": json.dumps(CONFIG).encode().ljust((1 << 20) + 1),
}


@pytest.mark.parametrize("kind", [*NO_RUNS, "pipe", "folder", "loop", "endless"])
def test_another_config_json_is_no_run_and_no_obstacle(tmp_path, load, kind):
    folder = tmp_path / "photographs/inner"
    write_run(folder, NO_RUNS.get(kind, b""))
    path = folder / "config.json"
    if kind not in NO_RUNS:
        path.unlink()
        make = {"pipe": lambda: pipe(path), "folder": path.mkdir}
        make |= {
            k: partial(path.symlink_to, to) for k, to in (("loop", path), ("endless", "/dev/zero"))
        }
        make[kind]()
    with bounded(megabytes=40):
        data = load()
    names = ["inner/loss.png", "inner/pictures/epoch-0001-samples.png"]
    assert sorted([*data.train_names, *data.test_names]) == names


def test_the_folder_of_a_run_is_refused_and_the_pictures_in_it_are_not(tmp_path, load):
    write_run(tmp_path / "photographs")
    with pytest.raises(ValueError, match=r"photographs is the folder of a run: choose a folder of"):
        load()
    write_many(tmp_path / "photographs/pictures", 3)
    folder = tmp_path / "photographs/pictures"
    assert load_folder(folder, image_size=2, cache_dir=tmp_path / "cache").train_names


def test_a_link_to_a_run_is_a_link(tmp_path, load, capsys):
    write_many(tmp_path / "photographs", 3)
    write_run(tmp_path / "run")
    (tmp_path / "photographs/run").symlink_to(tmp_path / "run")
    load()
    assert "3 files: 3 read, 1 link to folders not followed\n" in capsys.readouterr().err
