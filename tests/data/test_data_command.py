"""`scratchvae data`: listing, fetching and verifying data sets."""

import gzip
import hashlib
import json

import numpy as np
import pytest
from photographs import write_grey
from PIL import Image
from test_download import downloads, serve

from scratchvae.__main__ import main
from scratchvae.data.sources import FILES, OWNERS, SOURCES


def run_json(capsys, *arguments):
    code = main(["data", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["data", *arguments])
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def shelf(tmp_path, write_mnist, monkeypatch):
    """A folder with a tiny MNIST, whose hashes replace the known ones; no mirrors."""
    folder = tmp_path / "shelf"
    write_mnist(folder)
    unpacked = {name: gzip.decompress((folder / name).read_bytes()) for name in FILES.values()}
    source = SOURCES["mnist"]._replace(
        mirrors=(),
        downloads=downloads(folder, FILES.values()),
        md5={name: hashlib.md5(data).hexdigest() for name, data in unpacked.items()},
    )
    monkeypatch.setitem(SOURCES, "mnist", source)
    return folder


@pytest.fixture
def images(tmp_path):
    """A folder with three images, one of them broken."""
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.png", "inner/b.jpg"):
        Image.fromarray(np.full((9, 9, 3), 7, "uint8")).save(folder / name)
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "d.txt").write_text("neither")
    return folder


def test_list_where_nothing_is(capsys, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert rows["mnist"].split()[1] == rows["fashion-mnist"].split()[1] == "missing"
    assert f"$SCRATCHVAE_DATA: not set; {cache / 'mnist'}: there is no such folder" in rows["mnist"]
    assert rows["glyphs"].split()[1] == rows["faces"].split()[1] == "drawn"
    assert f"{tmp_path}: expected img_align_celeba/ and list_eval_partition.txt" in rows["celeba"]
    assert out.endswith(f"cache: {cache}, 0.0 MB\n")
    assert not cache.exists(), "listing must not create files"


def test_list_what_is_there(capsys, cache, write_mnist, tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mnist(cache / "mnist")
    (tmp_path / "celeba/img_align_celeba").mkdir(parents=True)
    (tmp_path / "celeba/list_eval_partition.txt").write_text("")
    code, found = run_json(capsys, "list", "mnist", "celeba", "faces", f"images:{images}")
    assert code == 0 and [d["name"] for d in found["datasets"]][:3] == ["mnist", "celeba", "faces"]
    assert [d["there"] for d in found["datasets"]] == [True, True, None, True]
    assert found["datasets"][0]["where"] == str(cache / "mnist")
    size = sum(path.stat().st_size for path in (cache / "mnist").iterdir())
    assert found["cache"] == {"folder": str(cache), "bytes": size}
    monkeypatch.setenv("SCRATCHVAE_DATA", str(cache))
    assert run_json(capsys)[1]["datasets"][0]["there"] is True


def test_without_a_home(capsys, monkeypatch):
    def homeless(project):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pooch.os_cache", homeless)
    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
    assert main(["data", "list", "mnist", "glyphs"]) == 0
    out = capsys.readouterr().out
    assert "the cache: Could not determine home directory." in out and "not cached" in out
    assert "cache: none (no home directory), 0.0 MB" in out
    assert "Could not determine home directory" in fails(capsys, "fetch", "mnist")


@pytest.mark.parametrize("form", ["packed", "unpacked", "packed again"])
def test_verify_knows_the_right_files_in_every_form(capsys, cache, shelf, form):
    for name in FILES.values():
        data = gzip.decompress((shelf / name).read_bytes())
        if form == "packed again":
            (shelf / name).write_bytes(gzip.compress(data, 1, mtime=5))
        elif form == "unpacked":
            (shelf / name).unlink()
            (shelf / name.removesuffix(".gz")).write_bytes(data)
    code, found = run_json(capsys, "verify", "mnist", "--data-dir", str(shelf))
    assert code == 0 and found["files"] == found["sound"] == 4
    assert {v["verdict"] for v in found["verdicts"]} == {"ok"}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("field", FILES)
def test_verify_sees_one_changed_byte(capsys, cache, shelf, field, packed):
    path = shelf / FILES[field]
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[-1] ^= 1
    path.write_bytes(gzip.compress(data) if packed else data)
    assert main(["data", "verify", "mnist", "--data-dir", str(shelf)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert f"{path}: differs (its hash differs from that of mnist's {path.name})" in out
    assert out[-1] == "mnist: 3 of 4 files are ok"


def test_verify_names_the_set_of_a_file(capsys, cache, shelf, monkeypatch):
    content = gzip.decompress((shelf / FILES["test_labels"]).read_bytes())
    monkeypatch.setitem(OWNERS, hashlib.md5(content).hexdigest(), "kmnist")
    assert main(["data", "verify", "mnist", "--data-dir", str(shelf)]) == 1
    assert "-ubyte.gz: differs (it is a file of kmnist)\n" in capsys.readouterr().out


def test_verify_tells_damage(capsys, cache, shelf):
    path = shelf / FILES["train_images"]
    path.write_bytes(path.read_bytes()[:-20])
    code, found = run_json(capsys, "verify", "mnist", "--data-dir", str(shelf))
    verdict = found["verdicts"][0]
    assert code == 1 and verdict["verdict"] == "damaged" and "damaged gzip" in verdict["why"]


def test_verify_does_not_pass_what_nobody_knows(capsys, cache, shelf, monkeypatch):
    """Of EMNIST only the hash of the archive is known."""
    known = {name: md5 for name, md5 in SOURCES["mnist"].md5.items() if "t10k-labels" not in name}
    monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(md5=known))
    code, found = run_json(capsys, "verify", "mnist", "--data-dir", str(shelf))
    assert code == 1 and [v["verdict"] for v in found["verdicts"]] == ["ok"] * 3 + ["unknown"]


def test_verify_images(capsys, cache, images):
    assert main(["data", "verify", f"images:{images}"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{images / 'c.jpg'}: damaged (")
    assert last == f"images:{images}: 2 of 3 files are ok"
    (images / "c.jpg").unlink()
    code, found = run_json(capsys, "verify", f"images:{images}")
    assert code == 0 and found["files"] == found["sound"] == 2 and found["verdicts"] == []
    images.rename(images.parent / "img_align_celeba")
    (images.parent / "img_align_celeba/inner/b.jpg").rename(
        images.parent / "img_align_celeba/b.jpg"
    )
    (images.parent / "list_eval_partition.txt").write_text("a.png 0\nb.jpg 2\n")
    code, found = run_json(capsys, "verify", "celeba", "--data-dir", str(images.parent))
    assert code == 0 and found["files"] == 2
    assert not (cache / "images").exists(), "verifying must not write a cache"


def test_verify_celeba_wants_its_list(capsys, cache, images):
    images.rename(images.parent / "img_align_celeba")
    said = fails(capsys, "verify", "celeba", "--data-dir", str(images.parent))
    assert "list_eval_partition.txt" in said


def test_verify_doubts_dark_images(capsys, cache, tmp_path):
    for i in range(3):  # masks of 0 and 1
        write_grey(tmp_path / f"masks/{i}.png", 1)
    assert main(["data", "verify", f"images:{tmp_path / 'masks'}"]) == 0
    assert "warning: the brightest pixel of all 3 images is 1 of 255" in capsys.readouterr().err
    assert main(["data", "verify", f"images:{tmp_path / 'masks'}", "--value-range", "0,1"]) == 0
    assert "brightest" not in capsys.readouterr().err


def test_fetch(capsys, cache, shelf, monkeypatch):
    with serve(shelf) as (address, requested):
        source = SOURCES["mnist"]
        monkeypatch.setitem(SOURCES, "mnist", source._replace(mirrors=(address,)))
        assert main(["data", "fetch", "mnist"]) == 0
        out, err = capsys.readouterr()
        assert out.splitlines()[0] == f"{cache / 'mnist' / FILES['train_images']}: ok"
        assert out.endswith("mnist: 4 of 4 files are ok\n")
        assert err == f"fetching mnist into {cache / 'mnist'}\n"
        code, found = run_json(capsys, "fetch", "mnist")
        assert code == 0 and found["sound"] == 4 and len(requested) == 4, "fetched once"
    assert run_json(capsys, "verify", "mnist")[0] == 0


def test_fetch_without_a_mirror_gives_advice(capsys, cache, shelf):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "fetch", "mnist"])
    err = capsys.readouterr().err
    assert "scratchvae data fetch: error: mnist is not on this machine" in err
    assert f"\n  - {FILES['test_labels']}\n" in err


def test_list_finds_every_downloaded_set(capsys, cache, write_mnist, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, found = run_json(capsys)
    there = {d["name"]: d["there"] for d in found["datasets"]}
    assert list(there) == [*SOURCES, "glyphs", "celeba", "faces"]
    assert not any(there[name] for name in SOURCES)
    write_mnist(cache / "kmnist")
    write_mnist(cache / "emnist", SOURCES["emnist-letters"].files)
    for name in SOURCES["cifar10"].files:
        (cache / "cifar10").mkdir(exist_ok=True)
        (cache / "cifar10" / name).touch()
    there = {d["name"] for d in run_json(capsys)[1]["datasets"] if d["there"]}
    assert there == {"kmnist", "emnist-letters", "cifar10"}


def test_verify_arrays(capsys, cache, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.eye(30, dtype="u1")[:, None] * np.full((28, 30), 200, "u1"))
    assert main(["data", "verify", f"arrays:{path}"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (f"{path}: ok\narrays:{path}: 1 of 1 files are ok\n", "")
    np.save(path, np.load(path) // 200)
    assert main(["data", "verify", f"arrays:{path}"]) == 0
    assert "images is 1 of 255" in capsys.readouterr().err
    code, found = run_json(capsys, "verify", f"arrays:{path}", "--value-range", "0,1")
    assert (code, found["sound"]) == (0, 1)
    path.write_bytes(path.read_bytes()[:-1])
    code, found = run_json(capsys, "verify", f"arrays:{path}")
    assert code == 1 and "damaged array" in found["verdicts"][0]["why"]
    assert run_json(capsys, "list", f"arrays:{path}")[1]["datasets"][0]["there"]


def test_an_array_with_a_key_is_found_and_named_once(tmp_path, capsys):
    path = tmp_path / "k.npz"
    np.savez(path, images=np.full((3, 8, 8), 255, "uint8"), more=np.zeros((3, 8, 8), "uint8"))
    for name, there in ((f"{path}:images", True), (f"{path}x:images", False)):
        (found,) = run_json(capsys, "list", f"arrays:{name}")[1]["datasets"]
        assert (found["there"], found["where"]) == (there, name)
    code, found = run_json(capsys, "verify", f"arrays:{path}:nope")
    (verdict,) = found["verdicts"]
    assert (code, verdict["path"]) == (1, f"{path}:nope")
    assert verdict["why"].startswith("expected the key nope, found images (3, 8, 8) uint8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch", "glyphs"], "argument NAME: unknown name 'glyphs'; choose from mnist,"),
        (["fetch"], "the following arguments are required: NAME"),
        (["verify", "faces"], "faces are drawn here, so there are no files to verify"),
        (["verify", "images:"], "expected a path after images:, got none"),
        (["verify", "images:/nowhere"], "there is no folder /nowhere"),
        (["verify", "images:a", "--data-dir", "b"], "--data-dir cannot be used with images:a"),
        (["verify", "arrays:a", "--data-dir", "b"], "--data-dir cannot be used with arrays:a"),
        (["verify", "arrays:/nowhere.npy"], "/nowhere.npy: No such file or directory"),
        (["verify", "arrays:"], "expected a path after arrays:, got none"),
        (["verify", "arrays:a.npy", "--value-range", "1"], "value_range: expected BLACK,WHITE"),
        (["verify", "mnist"], "download it with `scratchvae data fetch mnist`"),
        (["verify", "mnist", "--data-dir", "/nowhere"], "mnist is not in /nowhere: there is no"),
        (["verify", "celeba", "--data-dir", "/nowhere"], "celeba is not in /nowhere: expected the"),
    ],
)
def test_errors_are_one_line(capsys, cache, arguments, said):
    assert said in fails(capsys, *arguments)
