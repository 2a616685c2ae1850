"""Saved models: the same numbers back, ties kept, and damage named."""

import contextlib
import errno
import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import save as to_bytes

import blockyard as by
from blockyard.cli import main
from blockyard.core.errors import UsageError
from blockyard.model import save
from blockyard.model.save import load_model, save_model
from tests.asked import batch, equal

X = torch.arange(24).reshape(2, 12) * 7 % 256


@torch.no_grad()
@pytest.mark.parametrize("name", by.recipes())
def test_round_trip(name, tmp_path):
    model = by.build(name, "tiny", seed=3)
    save_model(model, tmp_path / "m")
    twin, x = load_model(tmp_path / "m"), batch(model, 2, 12)
    assert equal(model(x), twin(x))
    assert twin.spec == model.spec
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in model.parameters())


def test_shards_and_replacing(tmp_path, monkeypatch):
    monkeypatch.setattr(save, "SHARD_BYTES", 20_000)
    model = by.build("llama", "tiny")
    save_model(model, tmp_path / "m")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 2
    save_model(model, tmp_path / "m")
    assert torch.equal(load_model(tmp_path / "m")(X).logits, model(X).logits)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def spoil(folder, how):
    shard = next(folder.glob("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    if how == "missing":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(shard.read_bytes()[:-50])
    elif how == "tampered":
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
    elif how == "not json":
        (folder / "config.json").write_text("{")
    elif how == "newer":
        (folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    elif how == "no config":
        (folder / "config.json").unlink()


@pytest.mark.parametrize(
    "how,says",
    [
        ("missing", "missing"), ("truncated", "checksum"), ("tampered", "checksum"), ("not json", "damaged"),
        ("newer", "format 99"), ("no config", "holds no model"),
    ],
)  # fmt: skip
def test_damage_is_named(how, says, tmp_path):
    save_model(by.build("llama", "tiny"), tmp_path / "m")
    spoil(tmp_path / "m", how)
    with pytest.raises(UsageError, match=says):
        load_model(tmp_path / "m")


def tree(folder):
    """Every file below a folder with its content, and every link."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


CONFIGS = {
    "none": None,
    "a web project": {"name": "shop", "files": {"main": "index.html"}},
    "transformers": {"model_type": "llama", "hidden_size": 8},
    "another format": {"format": "v1", "spec": {}, "files": {}},
    "a list of files elsewhere": {"format": 1, "spec": {}, "files": {"../../notes.txt": "0"}},
    "a damaged one of ours": {"format": 2, "spec": {}, "files": {"notes.txt": "0"}, "checksum": "0"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_folder_of_something_else_is_left_alone(config, tmp_path, monkeypatch, capsys):
    save_model(by.build("llama", "tiny"), tmp_path / "m")
    desk = tmp_path / "desk"
    (desk / "src").mkdir(parents=True)
    (desk / "notes.txt").write_text("mine")
    (desk / "src" / "main.py").write_text("mine too")
    if config is not None:
        (desk / "config.json").write_text(json.dumps(config))
    before = tree(desk)
    with pytest.raises(UsageError, match="not empty"):
        save_model(by.build("llama", "tiny"), desk)
    monkeypatch.chdir(desk)
    assert main(["quantise", "../m", "--out", "."]) == 2
    said = capsys.readouterr().err
    assert "not empty" in said and len(said.splitlines()) == 1
    assert tree(desk) == before


def test_only_files_of_ours_are_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(save, "SHARD_BYTES", 20_000)
    folder = tmp_path / "m"
    save_model(by.build("llama", "tiny"), folder, tokenizer=b"{}")
    (folder / "README.md").write_text("mine")
    monkeypatch.setattr(save, "SHARD_BYTES", 2 << 30)
    place = os.stat(folder).st_ino
    save_model(by.build("gla", "tiny"), folder)
    assert sorted(tree(folder)) == ["README.md", "config.json", "model-00000.safetensors"]
    assert os.stat(folder).st_ino == place  # in place: a mount point and the current folder serve as well
    assert torch.equal(load_model(folder)(X).logits, by.build("gla", "tiny")(X).logits)
    (folder / "tokenizer.json").write_text("mine")
    before = tree(folder)
    with pytest.raises(UsageError, match=r"tokenizer\.json is not a file that was written here"):
        save_model(by.build("llama", "tiny"), folder, tokenizer=b"{}")
    assert tree(folder) == before


def test_the_current_folder_and_a_link_serve(tmp_path, monkeypatch):
    model = by.build("llama", "tiny")
    (tmp_path / "v1").mkdir()
    (tmp_path / "latest").symlink_to("v1")
    save_model(model, tmp_path / "latest")
    save_model(model, tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink() and sorted(p.name for p in tmp_path.iterdir()) == ["latest", "v1"]
    monkeypatch.chdir(tmp_path / "v1")
    save_model(model, ".")
    assert torch.equal(load_model(".")(X).logits, model(X).logits)


def test_a_place_that_cannot_hold_a_folder_is_refused_in_a_line(tmp_path):
    model = by.build("llama", "tiny")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "lost").symlink_to("nowhere")
    before = tree(tmp_path)
    for place in ("file", "file/below", "lost", "a" * 300, "/proc/self/m"):
        with pytest.raises(UsageError) as caught:
            save_model(model, tmp_path / place)
        assert place[:60] in str(caught.value) and "\n" not in str(caught.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_cannot_be_written_leaves_what_was_there(code, tmp_path, monkeypatch):
    old = by.build("llama", "tiny")
    save_model(old, tmp_path / "old")
    before = tree(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    for place in ("old", "new"):
        with pytest.raises(UsageError, match=os.strerror(code)):
            save_model(by.build("gla", "tiny"), tmp_path / place)
    assert tree(tmp_path) == before and sorted(p.name for p in tmp_path.iterdir()) == ["old"]


def test_folders_get_the_mode_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save_model(by.build("llama", "tiny"), tmp_path / "m")
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()} == {0o640}


def killed(at, work):
    """Do the work in a child that is gone at its `at`-th change of the disk; whether it came to its end."""
    child = os.fork()
    if not child:
        left = [at]

        def counted(real):
            def change(*args, **how):
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
                return real(*args, **how)

            return change

        for name in ("mkdir", "fsync", "replace", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


@pytest.mark.parametrize("fresh", [True, False], ids=["nothing", "a model"])
def test_killed_at_any_instant_the_old_model_stands_or_the_new(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(save, "SHARD_BYTES", 20_000)
    old, new = by.build("llama", "tiny"), by.build("gla", "tiny")
    wanted = [model(X).logits for model in (old, new)]
    stood = set()
    for at in range(1, 60):
        folder = tmp_path / str(at)
        if not fresh:
            save_model(old, folder, tokenizer=b'{"old": 1}')
        monkeypatch.setattr(save, "SHARD_BYTES", 40_000)  # fewer files than before, one of them by another name
        done = killed(at, lambda folder=folder: save_model(new, folder, tokenizer=b'{"new": 1}'))
        if fresh and not (folder / "config.json").exists():
            stood.add("none")
        else:
            found = load_model(folder)(X).logits
            which = [torch.equal(found, logits) for logits in wanted]
            assert sum(which) == 1
            stood.add(("old", "new")[which.index(True)])
        save_model(new, folder, tokenizer=b'{"new": 1}')  # and it can be gone on with
        assert torch.equal(load_model(folder)(X).logits, wanted[1])
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".") and p.name.endswith(".aside")]
        assert (folder / "tokenizer.json").read_bytes() == b'{"new": 1}'
        monkeypatch.setattr(save, "SHARD_BYTES", 20_000)
        save_model(old, folder)  # nothing was left that nobody owns
        if done:
            break
    assert stood == ({"none", "new"} if fresh else {"old", "new"}) and 12 < at < 59


def in_format_1(model, folder):
    """A model as it was saved before config.json had a checksum."""
    folder.mkdir()
    data = to_bytes({name: tensor.detach().contiguous() for name, tensor in save.stored(model).items()})
    (folder / "model-00000.safetensors").write_bytes(data)
    files = {"model-00000.safetensors": hashlib.sha256(data).hexdigest()}
    (folder / "config.json").write_text(json.dumps({"format": 1, "spec": model.spec.to_json(), "files": files}))
    (folder / "generation_config.json").write_text('{"format": 1}')
    (folder / "tokenizer.json").write_text("{}")


def test_an_older_folder_loads_and_is_replaced(tmp_path):
    model, folder = by.build("llama", "tiny"), tmp_path / "m"
    in_format_1(model, folder)
    assert torch.equal(load_model(folder)(X).logits, model(X).logits)
    save_model(model, folder)
    assert sorted(tree(folder)) == ["config.json", "model-00000.safetensors"]


def test_a_spec_that_was_changed_is_noticed(tmp_path):
    save_model(by.build("gla", "tiny"), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["spec"]["settings"]["residual"]["settings"]["norm"] = {"kind": "norm", "name": "rms", "settings": {"eps": 1}}
    for changed in (config, {k: v for k, v in config.items() if k != "checksum"}, config | {"format": 1}):
        path.write_text(json.dumps(changed))
        with pytest.raises(UsageError, match="checksum"):
            load_model(tmp_path / "m")


@pytest.mark.parametrize("odd", [None, [], "", 7, {"kind": 1, "name": 2, "settings": {}}, {"kind": "model"}])
def test_an_odd_spec_of_an_older_folder_is_a_line(odd, tmp_path):
    in_format_1(by.build("llama", "tiny"), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    for spoil in ({"spec": odd}, {"spec": config["spec"] | {"settings": odd}}, {"files": odd}):
        path.write_text(json.dumps(config | spoil))
        with pytest.raises(UsageError) as caught:
            load_model(tmp_path / "m")
        assert "\n" not in str(caught.value)
