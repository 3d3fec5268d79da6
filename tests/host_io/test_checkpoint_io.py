"""Checkpoints hold plain values only, are replaced as a whole or not at all, and damaged ones are passed over."""

from __future__ import annotations

import enum
import errno
import os
import resource
import signal
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from ear_sat.errors import UserError

pl = pytest.importorskip("pytorch_lightning")

from ear_sat.training.run.checkpoint_io import (  # noqa: E402
    AtomicCheckpointIO,
    check_intact,
    link_or_copy,
    newest_readable,
    plain,
)


class Kind(str, enum.Enum):
    EAR = "ear"


class Level(enum.IntEnum):
    HIGH = 3


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def io():
    return AtomicCheckpointIO()


@pytest.mark.parametrize(
    "value",
    [
        Path("x"),
        np.zeros(2),
        np.float64(1),
        np.float32(1),
        np.int64(1),
        np.str_("a"),
        np.bool_(True),
        {1, 2},
        b"a",
        print,
    ],
)
def test_refusals_name_the_key_path(value):
    with pytest.raises(TypeError, match=r"callbacks/RunCheckpoint/1/dir is a "):
        plain({"callbacks": {"RunCheckpoint": [0, {"dir": value}]}})


@pytest.mark.parametrize("key", [(1, 2), 1.5, np.int64(1), np.str_("a"), Path("x"), None])
def test_odd_keys_are_refused(key):
    with pytest.raises(TypeError, match=r"key .* in optimizer"):
        plain({"optimizer": {key: 1}})


def test_subclasses_become_their_base_type():
    value = plain(
        {"v": torch.__version__, "k": Kind.EAR, "n": Level.HIGH, Kind.EAR: 1, "b": True, "size": torch.Size([2])}
    )
    assert value == {"v": str(torch.__version__), "k": "ear", "n": 3, "ear": 1, "b": True, "size": [2]}
    types = [type(value["v"]), type(value["k"]), type(value["n"]), type(list(value)[3]), type(value["b"])]
    assert types == [str, str, int, str, bool]


def test_round_trip_with_weights_only(io, tmp_path):
    weight = torch.nn.Parameter(torch.randn(3))
    content = {"w": OrderedDict(a=weight), "betas": (0.8, 0.99), 0: None, "nested": [{"x": 1.5, "flag": False}]}
    io.save_checkpoint(content, tmp_path / "deep" / "a.ckpt")
    loaded = torch.load(tmp_path / "deep" / "a.ckpt", weights_only=True)
    assert type(loaded["w"]) is dict and loaded["betas"] == [0.8, 0.99] and loaded[0] is None
    assert loaded["nested"] == [{"x": 1.5, "flag": False}]
    assert torch.equal(loaded["w"]["a"], weight.detach()) and not loaded["w"]["a"].requires_grad
    assert io.load_checkpoint(tmp_path / "deep" / "a.ckpt", None)["betas"] == [0.8, 0.99]


def test_adamw_continues_from_lists_for_tuples(io, tmp_path):
    def trained(state=None, steps=2):
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 1)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, betas=(0.8, 0.99))
        if state:
            layer.load_state_dict(state["layer"])
            optimizer.load_state_dict(state["optimizer"])
        for _ in range(steps):
            optimizer.zero_grad()
            layer(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        return {"layer": layer.state_dict(), "optimizer": optimizer.state_dict()}

    io.save_checkpoint(trained(), tmp_path / "a.ckpt")
    resumed = trained(io.load_checkpoint(tmp_path / "a.ckpt"), steps=1)
    assert torch.equal(resumed["layer"]["weight"], trained(steps=3)["layer"]["weight"])


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync", "torch.save"])
def test_full_disk_leaves_the_old_file(io, tmp_path, monkeypatch, names, broken):
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    io.save_checkpoint({"round": 1}, path)
    with monkeypatch.context() as patch:
        patch.setattr(broken, full_disk)
        with pytest.raises(
            UserError, match=r"No space left on device; free some space and resume with --resume .*run$"
        ):
            io.save_checkpoint({"round": 2}, path)
    assert io.load_checkpoint(path) == {"round": 1}
    assert names(path.parent) == ["last.ckpt"]


def test_write_that_fails_half_way(io, tmp_path, names):
    """A real failing write: a limit on file sizes. torch.save reports it as a RuntimeError of its own."""
    path = tmp_path / "a.ckpt"
    io.save_checkpoint({"round": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(UserError, match=r"cannot write the checkpoint .*File too large; free some space"):
            io.save_checkpoint({"big": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert io.load_checkpoint(path) == {"round": 1}
    assert names(tmp_path) == ["a.ckpt"]


def test_interrupt_removes_the_temporary_file(io, tmp_path, monkeypatch, names):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        io.save_checkpoint({}, tmp_path / "a.ckpt")
    assert names(tmp_path) == []


def test_unwritable_place_has_its_own_remedy(io, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"make that place writable"):
        io.save_checkpoint({}, tmp_path / "file" / "a.ckpt")


def test_new_files_obey_the_umask(io, tmp_path):
    old = os.umask(0o027)
    try:
        io.save_checkpoint({}, tmp_path / "a.ckpt")
    finally:
        os.umask(old)
    assert (tmp_path / "a.ckpt").stat().st_mode & 0o777 == 0o640


def test_storage_options_are_refused(io, tmp_path):
    with pytest.raises(TypeError, match="storage_options"):
        io.save_checkpoint({}, tmp_path / "a.ckpt", storage_options={"a": 1})


def test_unreadable_files_are_named(io, tmp_path):
    with pytest.raises(UserError, match=r"no such checkpoint: .*none\.ckpt"):
        io.load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=r"empty\.ckpt is truncated"):
        io.load_checkpoint(tmp_path / "empty.ckpt")
    torch.save({"path": Path("x")}, tmp_path / "objects.ckpt")
    with pytest.raises(UserError, match=r"objects\.ckpt holds objects \(pathlib"):
        io.load_checkpoint(tmp_path / "objects.ckpt", weights_only=False)
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(UserError, match=r"list\.ckpt holds a list"):
        io.load_checkpoint(tmp_path / "list.ckpt")


def test_link_or_copy(io, tmp_path, monkeypatch, names):
    src, dst = tmp_path / "step-2.ckpt", tmp_path / "last.ckpt"
    io.save_checkpoint({"round": 1}, dst)
    io.save_checkpoint({"round": 2}, src)
    for _ in range(2):  # the second time both are the same file already
        link_or_copy(src, dst)
        assert src.samefile(dst) and names(tmp_path) == ["last.ckpt", "step-2.ckpt"]
    io.save_checkpoint({"round": 3}, dst)  # must not write through the link
    assert io.load_checkpoint(src) == {"round": 2}

    def no_links(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    link_or_copy(src, dst)
    assert not src.samefile(dst) and io.load_checkpoint(dst) == {"round": 2}
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(UserError, match=r"last\.ckpt: No space left"):
        link_or_copy(src, dst)
    assert names(tmp_path) == ["last.ckpt", "step-2.ckpt"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_checkpoints_are_passed_over(io, tmp_path):
    steps = {"step-90": 90, "step-200": 200, "step-1000": 1000, "last": 1000, "best": 90}
    for name, step in steps.items():
        io.save_checkpoint({"w": torch.randn(1000), "global_step": step}, tmp_path / f"{name}.ckpt")
    assert newest_readable(tmp_path) == (tmp_path / "last.ckpt", [])
    truncate(tmp_path / "last.ckpt")
    assert newest_readable(tmp_path) == (tmp_path / "step-1000.ckpt", ["last.ckpt is truncated: using step-1000.ckpt"])
    data = bytearray((tmp_path / "step-1000.ckpt").read_bytes())
    start = data.index(b"data.pkl") + 60
    data[start : start + 60] = bytes(60)  # the list of entries at the end is whole, the pickle is not
    (tmp_path / "step-1000.ckpt").write_bytes(data)
    path, notes = newest_readable(tmp_path)
    assert path.name == "step-200.ckpt"
    assert notes == ["last.ckpt is truncated: using step-200.ckpt", "step-1000.ckpt is damaged: using step-200.ckpt"]
    truncate(tmp_path / "step-200.ckpt")
    truncate(tmp_path / "step-90.ckpt")
    with pytest.raises(UserError, match=r"no readable checkpoint in .*last\.ckpt is truncated; step-1000"):
        newest_readable(tmp_path)


def test_a_flipped_bit_in_a_tensor_is_seen(io, tmp_path):
    """torch does not look at a file's checksums: the run would go on with other weights."""
    weights = torch.randn(1000)
    for step in (1, 2):
        io.save_checkpoint({"w": weights, "global_step": step}, tmp_path / f"step-{step}.ckpt")
    data = bytearray((tmp_path / "step-2.ckpt").read_bytes())
    data[data.index(weights.numpy().tobytes()) + 2003] ^= 4
    (tmp_path / "step-2.ckpt").write_bytes(data)
    assert newest_readable(tmp_path) == (tmp_path / "step-1.ckpt", ["step-2.ckpt is damaged: using step-1.ckpt"])
    with pytest.raises(UserError, match="damaged"):
        check_intact(tmp_path / "step-2.ckpt")


def test_the_checkpoint_of_most_rounds_is_the_newest(io, tmp_path):
    io.save_checkpoint({"ear_sat": {"rounds": 100}}, tmp_path / "step-100.ckpt")
    link_or_copy(tmp_path / "step-100.ckpt", tmp_path / "last.ckpt")
    assert newest_readable(tmp_path)[0].name == "last.ckpt"
    io.save_checkpoint({"ear_sat": {"rounds": 200}}, tmp_path / "step-200.ckpt")  # … and killed before it was linked
    assert newest_readable(tmp_path)[0].name == "step-200.ckpt"
    for rounds, newest in ((150, "step-200.ckpt"), (250, "last.ckpt")):  # written between two steps, by the clock
        io.save_checkpoint({"ear_sat": {"rounds": rounds}}, tmp_path / "last.ckpt")
        assert newest_readable(tmp_path)[0].name == newest


def test_no_checkpoint_at_all(tmp_path):
    (tmp_path / "step-x.ckpt").write_text("")
    with pytest.raises(UserError, match=r"no last\.ckpt"):
        newest_readable(tmp_path)


class Tiny(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), betas=(0.8, 0.99))
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


def test_lightning_saves_and_resumes_through_it(tmp_path):
    def fit(epochs, ckpt_path=None):
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            plugins=[AtomicCheckpointIO()],
            callbacks=[pl.callbacks.ModelCheckpoint(str(tmp_path), save_last=True)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        torch.manual_seed(0)
        module = Tiny()
        trainer.fit(module, torch.utils.data.DataLoader(torch.ones(3, 2)), ckpt_path=ckpt_path)
        return trainer.global_step, module.layer.weight.detach()

    assert fit(1)[0] == 3
    step, resumed = fit(2, tmp_path / "last.ckpt")
    assert step == 6
    torch.testing.assert_close(resumed, fit(2)[1])
