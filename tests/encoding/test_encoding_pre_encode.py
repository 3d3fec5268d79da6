"""Pre-encoded windows are what encoding them directly gives; runs continue and never mix settings."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch
from encoding_test_model import HOP, LATENT, RATE, SIZE, noise
from torch.nn import functional as F

import ear_sat
from ear_sat.compute import choose_device
from ear_sat.data.windows import open_windows
from ear_sat.encoding import default_sample_size, pre_encode
from ear_sat.encoding import worker as worker_module
from ear_sat.errors import UserError
from ear_sat.models import Autoencoder, optimize_for_inference

MODULE = """
def get_custom_metadata(info, audio):
    assert audio.shape == (2, {size}) and info["padding_mask"].shape == ({size},)
    return {body}
"""


@pytest.fixture
def encode(weights, music, tmp_path):
    """Encodes ``music`` to ``tmp_path/latents``."""

    def run(config=None, out="latents", file=weights, **keys):
        keys = {"sample_size": SIZE, "device": "cpu", "progress": False, **keys}
        return pre_encode(file, config or music, tmp_path / out, **keys)

    return run


def latents(folder):
    return {file.stem: np.load(file) for file in folder.glob("*/*.npy")}


def infos(folder):
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*/*.json")}


def remnants(folder):
    return [file.name for file in folder.rglob("*") if file.is_file() and file.name.startswith(".")]


def with_metadata(config, tmp_path, body):
    module = tmp_path / "module.py"
    module.write_text(MODULE.format(size=SIZE, body=body))
    entry = {**config["datasets"][0], "custom_metadata_module": str(module)}
    return {**config, "datasets": [entry]}


def test_files_hold_the_latents_of_their_windows(encode, weights, music, tmp_path):
    result = encode()
    assert (result.written, result.present, result.rejected, result.bad_files) == (5, 0, 0, {})
    assert result.seconds == pytest.approx((3.5 * SIZE + SIZE // 10) / RATE) and result.elapsed > 0
    found, described = latents(result.out), infos(result.out)
    model = optimize_for_inference(ear_sat.load_autoencoder(weights))
    windows = open_windows(music, SIZE, RATE)
    assert set(found) == set(described) == {window.name for window in windows.windows}
    for window in windows.windows:
        audio, info = windows.read(window)
        with torch.no_grad():
            expected = model.encode(audio[None])[0]
        array, mine = found[window.name], described[window.name]
        assert array.dtype == np.float32 and array.shape == (LATENT, SIZE // HOP) and array.flags["C_CONTIGUOUS"]
        assert np.array_equal(array, expected.numpy())
        mask = F.interpolate(info["padding_mask"][None, None], size=SIZE // HOP, mode="nearest")[0, 0]
        assert mine.pop("padding_mask") == mask.int().tolist() and mask.any()
        expected_info = {key: info[key] for key in ("path", "relpath", "seconds_start", "seconds_total", "sample_rate")}
        assert mine == {**expected_info, "timestamps": list(info["timestamps"])}


def test_the_folder_says_what_made_it(encode, music, weights):
    result = encode()
    details = json.loads((result.out / "details.json").read_text(encoding="utf-8"))
    assert details["sample_size"] == SIZE and details["sample_rate"] == RATE and details["hop_length"] == HOP
    assert details["latent_dim"] == LATENT and details["latents"] == "mean" and details["precision"] == "32"
    assert details["weights"] == {"file": weights.name, "sha256": ear_sat.weights.sha256(weights)}
    assert details["dataset_config"] == music and details["model_config"]["model"]["downsampling_ratio"] == HOP
    assert torch.__version__.startswith(details["versions"]["torch"])
    config = json.loads((result.out / "dataset_config.json").read_text(encoding="utf-8"))
    assert config == {"dataset_type": "pre_encoded", "datasets": [{"id": "latents", "path": str(result.out)}]}


def test_a_killed_run_continues_and_encodes_nothing_twice(encode, monkeypatch):
    result = encode()
    expected = latents(result.out)
    lost, half = sorted(result.out.glob("0/*.npy"))[:2]
    lost.unlink()
    lost.with_suffix(".json").unlink()
    half.unlink()  # killed between the two files
    orphan = result.out / "0" / f"{'0' * 16}_00000.json"
    orphan.write_text("{}")
    for name in (f".{lost.name}.123.tmp", f".{half.stem}.json.99.tmp"):
        (result.out / "0" / name).write_bytes(b"half")
    kept = {file: file.stat().st_mtime_ns for file in result.out.glob("0/*.npy")}
    again = encode()
    assert (again.written, again.present) == (2, 3)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert not remnants(result.out) and not orphan.exists()
    found = latents(result.out)
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    monkeypatch.setattr(worker_module, "read_model", None)
    assert (encode().written, encode().present) == (0, 5)


def test_windows_of_other_ranks_count(encode):
    result = encode()
    (result.out / "0").rename(result.out / "7")
    again = encode()
    assert (again.written, again.present) == (0, 5) and not list(result.out.glob("0/*.npy"))


@pytest.mark.parametrize("kind", [".npy", ".json"])
def test_an_interrupted_write_leaves_nothing(encode, monkeypatch, tmp_path, kind):
    """A window that the host's data set finds, by its .npy, has its .json."""
    replace, calls = os.replace, []

    def interrupt(source, target):
        calls.append(target)
        if str(target).endswith(kind) and len(calls) > 4:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        encode()
    monkeypatch.undo()
    assert all(file.with_suffix(".json").exists() for file in (tmp_path / "latents").rglob("*.npy"))
    assert not remnants(tmp_path / "latents") and 0 < len(latents(tmp_path / "latents")) < 5
    assert encode().windows == 5 and len(latents(tmp_path / "latents")) == 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_is_one_sentence(encode, monkeypatch, tmp_path, code):
    sync = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > LATENT * SIZE // HOP * 4:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=rf"cannot write .*\.npy: {os.strerror(code)}; nothing is lost") as raised:
        encode()
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    assert not remnants(tmp_path / "latents") and not latents(tmp_path / "latents")
    assert encode().written == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sample_size": 2 * SIZE}, "sample_size was 4096, now it is 8192"),
        ({"sample": True}, 'latents was "mean", now it is "sample"'),
        ({"precision": "bf16"}, 'precision was "32", now it is "bf16"'),
        ({"file": "mono_weights"}, "weights.sha256"),
        ({"config": {"split": "train"}}, 'dataset_config.split was none, now it is "train"'),
        ({"config": {"datasets": "other"}}, "dataset_config.datasets[0].path"),
    ],
)
def test_other_settings_are_refused_by_name(encode, music, tmp_path, request, change, named):
    encode()
    if "file" in change:
        change = {"file": request.getfixturevalue(change["file"])}
    if "config" in change:
        change = {"config": {**music, **change["config"]}}
        if change["config"]["datasets"] == "other":
            shutil.copytree(tmp_path / "music", tmp_path / "other")
            change["config"]["datasets"] = [{"id": "music", "path": str(tmp_path / "other")}]
    before = latents(tmp_path / "latents").keys()
    with pytest.raises(UserError, match="made with other settings") as raised:
        encode(**change)
    assert named in str(raised.value) and latents(tmp_path / "latents").keys() == before


def test_a_folder_that_moved_is_the_same(encode, music, tmp_path):
    encode()
    shutil.move(tmp_path / "music", tmp_path / "elsewhere")
    moved = {**music, "datasets": [{"id": "music", "path": str(tmp_path / "elsewhere")}]}
    result = encode(moved)
    assert (result.written, result.present) == (0, 5)


def test_other_versions_and_a_renamed_file_do_not_matter(encode, weights, tmp_path):
    result = encode()
    details = json.loads((result.out / "details.json").read_text(encoding="utf-8"))
    details["versions"]["torch"] = "1.0"
    (result.out / "details.json").write_text(json.dumps(details))
    copy = shutil.copy(weights, tmp_path / "renamed.safetensors")
    assert encode(file=copy).present == 5


def test_latents_of_unknown_origin_are_left_alone(encode, tmp_path):
    encode()
    (tmp_path / "latents" / "details.json").unlink()
    with pytest.raises(UserError, match=r"no details\.json"):
        encode()


def test_samples_depend_on_the_window_only(encode, tmp_path):
    mean, first = encode(out="mean").out, encode(out="one", sample=True, seed=3)
    batched = encode(out="two", sample=True, seed=3, batch_size=4)
    other = encode(out="three", sample=True, seed=4)
    mean, first, batched, other = (latents(folder) for folder in (mean, first.out, batched.out, other.out))
    noises = [first[name] - mean[name] for name in mean]
    for name in mean:
        assert np.allclose(first[name], batched[name], atol=1e-5)
        assert not np.allclose(first[name], other[name], atol=0.1)
    # Standard normal, divided by the deviations of these weights, which lie around softplus(0) = 0.7
    assert 0.4 < np.std(noises) < 1 and abs(np.mean(noises)) < 0.02
    assert all(abs(np.corrcoef(noises[0].ravel(), noise.ravel())[0, 1]) < 0.1 for noise in noises[1:])


def test_bf16_is_near_float32_and_stored_as_float32(encode):
    full, half = (latents(encode(out=name, precision=name).out) for name in ("32", "bf16"))
    for name, array in half.items():
        assert array.dtype == np.float32 and not np.array_equal(array, full[name])
        assert np.abs(array - full[name]).max() < 0.02  # bfloat16 has 8 bits; the latents are below 1


def test_odd_files_are_encoded_and_bad_ones_listed(encode, write, tmp_path, music):
    write("mono.wav", noise(777, 1))
    write("surround.flac", noise(500, 6))
    write("fast.ogg", noise(9001), 48000)
    write("silent.wav", np.zeros((100, 2), np.float32))
    write("sample.wav", noise(1))
    nan = noise(2 * SIZE)
    nan[-1] = np.nan
    write("nan.wav", nan)
    write("empty.wav", np.zeros((0, 2), np.float32))
    (tmp_path / "music" / "broken.mp3").write_bytes(b"\xff\xfb" + b"x" * 3000)
    result = encode()
    assert result.written == 5 + 5 + 1 and all(np.isfinite(array).all() for array in latents(result.out).values())
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in result.bad_files.items()}
    assert set(reasons) == {"nan.wav", "empty.wav", "broken.mp3"} and "window 1" in reasons["nan.wav"]
    frames = {info["relpath"]: sum(info["padding_mask"]) for info in infos(result.out).values()}
    assert frames["mono.wav"] == -(-777 // HOP) and frames["sample.wav"] == 1 and frames["fast.ogg"] == 47
    assert encode().written == 0


def test_one_channel(encode, mono_weights):
    found = latents(encode(file=mono_weights).out)
    assert len(found) == 5 and all(array.shape == (LATENT, SIZE // HOP) for array in found.values())


def test_nothing_usable_is_an_error(encode, write, tmp_path):
    nan = str(write("../nan/a.wav", np.full((SIZE, 2), np.nan, np.float32)).parent)
    with pytest.raises(UserError, match=r"none of the 1 audio files is usable.*NaN"):
        encode({"dataset_type": "ear_audio", "datasets": [{"path": nan}]})
    with pytest.raises(UserError, match="no such folder"):
        encode({"dataset_type": "ear_audio", "datasets": [{"path": str(tmp_path / "absent")}]})


def test_custom_metadata_is_added_and_rejects(encode, music, tmp_path):
    body = """{
        "prompt": info["relpath"], "curve": audio[:, :2], "__reject__": info["relpath"] == "a.wav", "tags": ("x", 1)
    }"""
    result = encode(with_metadata(music, tmp_path, body))
    assert (result.written, result.rejected) == (2, 3)
    for info in infos(result.out).values():
        assert info["prompt"] == info["relpath"] and info["tags"] == ["x", 1] and np.shape(info["curve"]) == (2, 2)
        assert "__reject__" not in info and len(info["padding_mask"]) == SIZE // HOP


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{'x': {'y': object()}}", "returns a object as x.y, which JSON cannot hold"),
        ("{'__audio__': {'stem': audio}}", "returns __audio__"),
        ("{'__reject__': True}", "rejects all of the 5 windows"),
        ("1 / 0", "fails on .*ZeroDivisionError"),
        ("[1]", "must return a dict"),
    ],
)
def test_metadata_that_cannot_be(encode, music, tmp_path, body, message):
    with pytest.raises(UserError, match=message):
        encode(with_metadata(music, tmp_path, body))
    assert not latents(tmp_path / "latents") and not remnants(tmp_path / "latents")


def test_a_limit_takes_the_first_windows_and_the_rest_follows(encode):
    assert (encode(limit=2).written, encode(limit=2).written, encode().written) == (2, 0, 3)


def test_values_out_of_range(encode, weights, tmp_path):
    for size, nearest in ((SIZE + 1, "4096 or 4128"), (5, "use 32"), (0, "use 32"), (-32, "use 32"), (31, "use 32")):
        with pytest.raises(UserError, match=f"multiple of the model's hop of 32 samples.*{nearest}"):
            encode(sample_size=size)
    for key in ("batch_size", "processes", "limit"):
        with pytest.raises(UserError, match=f"--{key.replace('_', '-')} must be a whole number of at least 1"):
            encode(**{key: 0})
    with pytest.raises(UserError, match="--seed"):
        encode(seed=-1)
    with pytest.raises(UserError, match="unknown device 'gpu'; use auto, cpu"):
        encode(device="gpu")
    with pytest.raises(UserError, match="unknown precision"):
        encode(precision="64")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="torch sees no GPU"):
            encode(device="cuda")
    with pytest.raises(UserError, match=r"contains '\.npy'"):
        encode(out="a.npy/latents")
    with pytest.raises(UserError, match="cannot make the folder"):
        encode(out=f"{weights}/latents")
    assert not (tmp_path / "latents").exists()
    assert default_sample_size(RATE, HOP) == 30 * RATE and default_sample_size(44100, 1024) % 1024 == 0


def test_processes_share_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(name, turn).index for name in ("auto", "cuda") for turn in range(4)] == [0, 1, 0, 1] * 2
    assert choose_device("cuda:1", turn=4).index == 1 and choose_device("cpu", turn=1).type == "cpu"
    with pytest.raises(UserError, match="there is no device cuda:2: torch sees 2; use cuda:0 to cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate")]
)
def test_too_little_memory_is_one_sentence(encode, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Autoencoder, "encode", fail)
    with pytest.raises(UserError, match=r"memory of cpu does not hold 1 × 4096 samples; lower --batch-size"):
        encode()


def test_latents_that_are_not_finite_are_not_written(encode, monkeypatch):
    original, calls = Autoencoder.encode, []

    def spoil(self, audio, **keys):
        latents, info = original(self, audio, **keys)
        calls.append(audio)
        info["std"][:, 0] = float("inf") if len(calls) == 2 else 1
        return latents, info

    monkeypatch.setattr(Autoencoder, "encode", spoil)
    result = encode()
    assert result.written == len(latents(result.out)) == 4
    assert list(result.bad_files.values()) == ["NaN or infinite latents in window 1; try --precision 32"]
    monkeypatch.undo()
    assert encode().written == 1
