"""The section ``equality`` of gpu_check.py: every fast path against float32 on the CPU, quick ones first."""

from __future__ import annotations

from gpu_losses import compare_losses
from gpu_networks import compare_discriminator, compare_inference, compare_training, create_reference
from gpu_section import Section
from gpu_setting import Setting
from gpu_snake import compare_snake

from ear_sat.compiling import can_compile


def run(section: Section, setting: Setting) -> None:
    if setting.device == "cpu":
        section.note("Rows of TF32: left out, a CPU has none.")
    compare_snake(section, setting, compiled=False)
    reference = create_reference(setting)
    decoded = compare_training(section, setting, reference)
    compare_inference(section, setting, reference, compiled=False)
    compare_discriminator(section, setting, reference.music)
    compare_losses(section, setting, reference, decoded)
    if setting.mini:
        section.note("Compiled kernels and networks: left out in miniature, compilers take longer than all the rest.")
        return
    for _ in section.within_cap(["whether torch.compile works"]):
        works = can_compile(setting.device)
    if not works:
        section.note("Compiled kernels and networks: skipped, torch.compile does not work here.")
        return
    compare_snake(section, setting, compiled=True)
    compare_inference(section, setting, reference, compiled=True)
