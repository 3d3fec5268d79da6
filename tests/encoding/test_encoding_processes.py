"""Several processes give the files of one, and what goes wrong in one reaches the user."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from encoding_test_model import SIZE, noise

from ear_sat.data.windows import data_config
from ear_sat.encoding import pre_encode
from ear_sat.errors import UserError
from ear_sat.ranks import Place, find_place


def files(folder, ending="npy"):
    return {file.name: file.read_bytes() for file in folder.glob(f"*/*.{ending}")}


@pytest.fixture
def encode(weights, music, tmp_path):
    def run(out, **keys):
        return pre_encode(weights, music, tmp_path / out, sample_size=SIZE, device="cpu", progress=False, **keys)

    return run


@pytest.mark.slow
def test_two_processes_give_the_files_of_one(encode):
    one, two = encode("one", sample=True), encode("two", sample=True, processes=2)
    assert one.written == two.written == 5 and two.seconds == pytest.approx(one.seconds)
    assert files(one.out) == files(two.out) and files(one.out, "json") == files(two.out, "json")
    assert sorted(len(list((two.out / rank).glob("*.npy"))) for rank in "01") == [1, 4]
    # Another number of processes continues the same folder.
    sorted(two.out.glob("0/*.npy"))[0].unlink()
    assert encode("two", sample=True, processes=1).written == 1 and files(one.out) == files(two.out)


@pytest.mark.parametrize("names", [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")])
def test_launchers_split_the_files(encode, monkeypatch, names):
    whole, results = files(encode("one").out), []
    for rank in range(4):  # the fourth has nothing to do
        monkeypatch.setenv(names[0], str(rank))
        monkeypatch.setenv(names[1], "4")
        monkeypatch.setenv("SLURM_STEP_ID", "0")
        results.append(encode("many"))
    assert [result.written for result in results] == [3, 1, 1, 0]
    assert files(results[0].out) == whole and (results[0].out / "2").is_dir()


def test_places(monkeypatch):
    assert find_place({}) == Place() and find_place({"RANK": "1"}) == Place()
    # The script that sbatch runs is one process, whatever number of tasks was asked for.
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == Place()
    both = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "9"}
    assert find_place(both) == Place(1, 2, 1, "torchrun")
    for rank, size in (("2", "2"), ("-1", "2"), ("x", "2"), ("0", "0")):
        with pytest.raises(UserError, match=f"RANK={rank} and WORLD_SIZE={size} do not go together"):
            find_place({"RANK": rank, "WORLD_SIZE": size})


@pytest.mark.slow
@pytest.mark.parametrize(("how", "processes"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_a_stopped_command_continues(weights, write, tmp_path, how, processes):
    """Stopped while it writes: no part of a file remains, and the same command completes the rest."""
    for number in range(4):
        write(f"{number}.wav", noise(25 * SIZE, seed=number))
    out, slow, config = tmp_path / "latents", tmp_path / "slow.py", tmp_path / "data.json"
    # A tenth of a second per window, so that it is still at work when the signal comes, however busy the machine is.
    slow.write_text(
        "import os, time\n"
        "def get_custom_metadata(info, audio):\n"
        "    time.sleep(float(os.environ.get('SECONDS_PER_WINDOW', 0)))\n"
        "    return {}\n"
    )
    folder = {"id": "music", "path": str(tmp_path / "music"), "custom_metadata_module": str(slow)}
    config.write_text(json.dumps({"dataset_type": "ear_audio", "datasets": [folder]}))
    command = [sys.executable, "-m", "ear_sat.cli.main", "pre-encode", "--weights", weights, "--device", "cpu"]
    command += ["--dataset-config", config, "--out", out, "--sample-size", SIZE, "--processes", processes]
    environment = {**os.environ, "SECONDS_PER_WINDOW": "0.1"}
    process = subprocess.Popen(
        [*map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored below a background shell
    )
    while len(list(out.glob("*/*.npy"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate()  # waits for the orphans too: they end after the window at hand
    assert "Traceback" not in errors and process.returncode == (-9 if how == signal.SIGKILL else 130)
    before = len(list(out.glob("*/*.npy")))
    assert 2 <= before < 100
    assert all(np.load(file).shape == (32, 128) for file in out.glob("*/*.npy"))
    result = pre_encode(weights, data_config(None, config), out, sample_size=SIZE, device="cpu", progress=False)
    assert (result.present, result.written) == (before, 100 - before)
    assert not [file for file in out.rglob(".*") if file.is_file()] and len(files(out, "json")) == 100
