"""What a run chooses on machines with GPUs, which are pretended here."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from ear_sat.errors import UserError
from ear_sat.host.diffusion.job import HostJob
from ear_sat.training import free_memory as free_memory_module
from ear_sat.training.free_memory import free_memory
from ear_sat.training.run import trainer
from ear_sat.training.run.folder import RunFolder
from ear_sat.training.run.options import TrainOptions


@pytest.fixture
def gpus(monkeypatch):
    """Pretends so many GPUs, which compute in bfloat16 or not."""

    def pretend(count, bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        # With emulation, torch says yes on any card.
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )

    return pretend


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """The arguments of Lightning's trainer for the flags."""

    def choose(ours=True, **flags):
        seen = {}

        def remember(**arguments):
            seen.update(arguments)
            return SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")), global_step=0)

        monkeypatch.setattr(trainer.pl, "Trainer", remember)
        options = TrainOptions(logger="none", **flags)
        job = SimpleNamespace(steps_itself=ours, by_parts=ours)
        trainer.create_trainer(options, RunFolder(tmp_path), [], job, validates=False)
        return seen

    return choose


@pytest.mark.parametrize(
    ("count", "bf16", "flags", "precision", "devices", "strategy"),
    [
        (0, False, {}, "32", 1, "auto"),
        (1, True, {}, "bf16-mixed", "auto", "auto"),
        (1, False, {}, "16-mixed", "auto", "auto"),
        (1, True, {"precision": "32"}, "32", "auto", "auto"),
        (1, True, {"accelerator": "cpu"}, "32", 1, "auto"),
        (2, True, {}, "bf16-mixed", "auto", "ddp_find_unused_parameters_true"),
        (2, True, {"devices": "1"}, "bf16-mixed", 1, "auto"),
        (2, True, {"strategy": "auto"}, "bf16-mixed", "auto", "ddp_find_unused_parameters_true"),
        (2, True, {"accelerator": "cuda", "devices": "2"}, "bf16-mixed", 2, "ddp_find_unused_parameters_true"),
        (8, True, {"num_nodes": 4}, "bf16-mixed", "auto", "ddp_find_unused_parameters_true"),
    ],
)
def test_precision_devices_and_strategy(gpus, chosen, count, bf16, flags, precision, devices, strategy):
    gpus(count, bf16)
    seen = chosen(**flags)
    assert (seen["precision"], seen["devices"], seen["strategy"]) == (precision, devices, strategy)
    assert chosen(ours=False, **flags)["strategy"] == ("auto" if strategy == "auto" else "ddp")


UNUSED = "ddp_find_unused_parameters_true"


@pytest.mark.parametrize(
    ("asked", "by_parts", "whole"),
    [
        ("ddp", UNUSED, "ddp"),
        ("ddp_find_unused_parameters_false", UNUSED, "ddp_find_unused_parameters_false"),
        (UNUSED, UNUSED, UNUSED),
        ("", UNUSED, "ddp"),
        ("auto", UNUSED, "ddp"),
        ("fsdp", None, "fsdp"),
        ("fsdp_cpu_offload", None, "fsdp_cpu_offload"),
        ("deepspeed", None, "deepspeed"),
        ("deepspeed_stage_2", None, "deepspeed_stage_2"),
        ("ddp_spawn", None, None),
        ("ddp_fork_find_unused_parameters_true", None, None),
        ("ddp_notebook", None, None),
    ],
)
def test_strategies(asked, by_parts, whole):
    for parts, expected in ((True, by_parts), (False, whole)):
        if expected is None:
            with pytest.raises(UserError, match=r"use --strategy ddp$"):
                trainer.check_strategy(asked, several=True, by_parts=parts)
        else:
            assert trainer.check_strategy(asked, several=True, by_parts=parts) == expected
    assert trainer.check_strategy("", several=False, by_parts=True) == "auto"


def test_the_hosts_own_autoencoder_is_called_by_parts_too():
    for automatic in (True, False):
        assert (
            HostJob(SimpleNamespace(automatic_optimization=automatic, model=None), {}, TrainOptions()).by_parts
            is not automatic
        )


def test_a_half_type_for_everything_is_refused(gpus, chosen):
    gpus(1)
    for precision in ("bf16-true", "16-true"):
        with pytest.raises(UserError, match=precision.replace("true", "mixed")):
            chosen(precision=precision)


def test_memory_that_torch_holds_and_does_not_use_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 20)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 12)
    assert free_memory(torch.device("cuda", 0)) == 13


def test_a_container_has_less_than_its_machine(monkeypatch, tmp_path):
    """As on a machine of 256 GiB in a container of 24, of which 5 are used and 2 of these are cache."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=200 << 30))
    limit, use = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(free_memory_module, "_CONTAINERS", ((str(limit), str(use), "inactive_file"),) * 2)
    cpu = torch.device("cpu")
    assert free_memory(cpu) == 200 << 30  # no control groups here
    use.write_text(f"{5 << 30}\n")
    (tmp_path / "memory.stat").write_text(f"anon {3 << 30}\ninactive_file {2 << 30}\n")
    limit.write_text("max\n")
    assert free_memory(cpu) == 200 << 30
    limit.write_text(f"{24 << 30}\n")
    assert free_memory(cpu) == 21 << 30 and free_memory(cpu, sharing=3) == 7 << 30
