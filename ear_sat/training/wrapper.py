"""The training wrapper: rounds of generator and discriminator updates over the phases of a schedule.

A round adds the gradients of its batches (see :mod:`.round`), then clips them and steps both players. The generator's
backward begins when the discriminator's graphs are gone, no loss reaches a player it is not meant for, and under DDP
each player's gradients are reduced in calls of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import pytorch_lightning as pl
import torch
from ema_pytorch import EMA
from torch import Tensor
from torch.profiler import record_function

from ..compute import keep_freed_memory
from ..config import build, check_choice
from ..losses import LossBundle
from ..value_types import Count, NotNegative, OneOf, Share, Size
from ..weights import config_metadata, write_weights
from .balance import GradientBalance, active_entries
from .faults import FaultCounter, not_finite
from .kl_target import KLTarget
from .latents import Equivariance
from .memory_plan import plan_checkpointing
from .optimizers import LightningOptimizers, Optimizers
from .phases import Phase, Schedule
from .players import Autoencoder, Discriminator, Trainable
from .ranks import all_ranks_agree, over_ranks
from .round import Batch, Turn, add_gradients, audio_of, reconstruct
from .round_log import round_log
from .round_seed import seed_batch
from .run.checkpoint_io import fit_counters
from .validation import Validation

UPDATES = ("both", "alternate")
#: Of a round's values.
KL = "raw/bottleneck/kl"


class EarTrainingWrapper(pl.LightningModule):
    """Trains an autoencoder built by the host's factory; ``training.type`` "ear". Built parts are injected.

    Args:
        autoencoder: the host's ``AudioAutoencoder`` (or ours) with any encoder, decoder and bottleneck.
        bundle: reconstruction losses.
        optimizers: how to build the optimizers, and their clipping.
        schedule: phases.
        discriminator: ours or the host's; None for none.
        adversarial_weights: ``adversarial`` and ``feature_matching`` of the generator's loss.
        bottleneck_weights: keys of the bottleneck's info dict (``kl``) and their weights.
        kl_target: what adapts the weight of ``kl``; None for a fixed one.
        equivariance: changes of latents and audio; None for none.
        validation: metrics of ``eval_loss_configs``.
        ema_copy: a second autoencoder that becomes the moving average; None for no EMA.
        ema_config: arguments of :class:`ema_pytorch.EMA`.
        balance: how entries' weights follow from their gradients; None for the config's weights as they are.
        update: ``"both"`` players every round, or ``"alternate"`` as the host does.
        force_input_mono: encode the mean of the channels.
        latent_mask_ratio: share of latent values set to 0 in training.
        latent_noise: standard deviation of noise on the latents in training, relative to theirs in the batch.
        max_bad_batches: batches in a row with NaN or infinite values that stop the run.
        log_every: rounds between rows of the log.
        gradient_log_every: rounds between measurements of each term's gradient at the decoder's output; 0 for never.

    Attributes read by the host's export and demo code: ``autoencoder``, ``autoencoder_ema``, ``use_ema``,
    ``discriminator``, ``force_input_mono``. ``rounds`` counts finished rounds. ``seed`` is what every batch's
    randomness comes from; None for that of the checkpoint, or else torch's.
    """

    autoencoder: Autoencoder
    autoencoder_ema: EMA | None
    discriminator: Discriminator | None
    device: torch.device

    def __init__(
        self,
        autoencoder: Autoencoder,
        bundle: LossBundle,
        optimizers: Optimizers,
        schedule: Schedule,
        discriminator: Discriminator | None = None,
        adversarial_weights: Mapping[str, float] | None = None,
        bottleneck_weights: Mapping[str, float] | None = None,
        kl_target: KLTarget | None = None,
        equivariance: Equivariance | None = None,
        validation: Validation | None = None,
        ema_copy: Autoencoder | None = None,
        ema_config: Mapping[str, object] | None = None,
        balance: GradientBalance | None = None,
        update: Annotated[str, OneOf(UPDATES)] = "both",
        force_input_mono: bool = False,
        latent_mask_ratio: Share = 0.0,
        latent_noise: NotNegative = 0.0,
        max_bad_batches: Size = 20,
        log_every: Size = 10,
        gradient_log_every: Count = 100,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.bundle = bundle
        self.discriminator = discriminator
        self.use_disc = discriminator is not None
        self.adversarial_weights = {"adversarial": 0.0, "feature_matching": 0.0, **(adversarial_weights or {})}
        self.bottleneck_weights = dict(bottleneck_weights or {})
        self.kl_target = kl_target
        self.optimizer_configs, self.schedule = optimizers, schedule
        self.validation = validation
        self.balance = balance
        self.update = check_choice("training.update", update, UPDATES)
        self.force_input_mono = force_input_mono
        self.latent_mask_ratio, self.latent_noise = latent_mask_ratio, latent_noise
        self.equivariance = equivariance
        self.log_every, self.gradient_log_every = log_every, gradient_log_every
        self.use_ema = ema_copy is not None
        self.autoencoder_ema = None
        if ema_copy is not None:
            settings = {"beta": 0.9999, "power": 3 / 4, "update_every": 1, "update_after_step": 1, **(ema_config or {})}
            injected = {"model": autoencoder, "ema_model": ema_copy, "include_online_model": False}
            self.autoencoder_ema = build("training.ema", EMA, settings, **injected)
        self.faults = FaultCounter(max_bad_batches)
        self.accumulate = 1
        self.rounds = 0
        self.seed: int | None = None
        self._micro = 0
        self._planned = False
        self._window: dict[str, Tensor] = {}
        self.embedded_config: dict[str, Any] | None = None
        self.last_log: dict[str, float] = {}
        self.last_output_gradients: dict[str, float] = {}

    # -- Lightning hooks ---------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> LightningOptimizers:
        return self.optimizer_configs.build(self.autoencoder, self.discriminator, self.schedule)

    def forward(self, reals: Tensor) -> Tensor:
        """Reconstruction of (batch, channels, time)."""
        return self.autoencoder.decode(self.autoencoder.encode(reals))

    def on_fit_start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()

    def on_train_start(self) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        assert self.seed is not None
        seed_batch(self.seed, self.global_rank, self.rounds, self._micro)
        if not self._planned:
            self._planned = plan_checkpointing(self, audio_of(batch))
        phase, position = self.schedule.at(self.rounds)
        if self._micro == 0:
            self.optimizer_configs.set_rates(self.optimizers(), phase, position)
        last = self._micro + 1 >= self.accumulate
        measure = last and self.gradient_log_every > 0 and self.rounds % self.gradient_log_every == 0
        turn = self._balanced(Turn(phase, *self._whose_turn(phase), measure), last)
        added = add_gradients(self, audio_of(batch), turn)
        self.last_output_gradients.update(added.norms)
        for key, value in added.values.items():
            self._window[key] = self._window.get(key, torch.zeros_like(value)) + value / self.accumulate
        self._micro += 1
        if last:
            with record_function("ear_sat: clipping, optimizers, moving average"):
                self._finish_round(turn, added.entry_norms)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self.validation is not None:
            reals = audio_of(batch)
            self.validation.add(reconstruct(self, reals), reals)

    def on_validation_epoch_end(self) -> None:
        if self.validation is not None:
            results = self.validation.finish(self.device)
            self._write({f"val/{name}": value for name, value in results.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ear_sat"] = {"rounds": self.rounds, "bad_batches": self.faults.total, "seed": self.seed}
        if self.balance is not None:
            checkpoint["ear_sat"]["balance"] = self.balance.state_dict()
        if self.kl_target is not None:
            checkpoint["ear_sat"]["kl_weight"] = self.kl_target.weight
        if self.embedded_config is not None:
            checkpoint["model_config"] = self.embedded_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("ear_sat", {})
        self.rounds = int(state.get("rounds", 0))
        self.faults.total = int(state.get("bad_batches", 0))
        if self.balance is not None:
            self.balance.load_state_dict(state.get("balance", {}))
        if self.seed is None:
            self.seed = state.get("seed")
        if self.kl_target is not None and "kl_weight" in state:
            self._set_kl_weight(self.kl_target, float(state["kl_weight"]))
        checkpoint["state_dict"] = fit_counters(self, checkpoint["state_dict"])
        self._micro = 0

    def export_model(self, path: str, use_safetensors: bool = False) -> None:
        """Writes the autoencoder (its moving average where there is one) as the host loads it, with its config."""
        config = self.embedded_config
        write_weights(
            self.exported_autoencoder.state_dict(),
            path,
            metadata=None if config is None else config_metadata(config, self.rounds),
            file_format="safetensors" if use_safetensors else "host",
            overwrite=True,
        )

    @property
    def exported_autoencoder(self) -> Autoencoder:
        """The moving average where there is one, else the autoencoder itself."""
        return self.autoencoder if self.autoencoder_ema is None else cast("Autoencoder", self.autoencoder_ema.ema_model)

    # -- one round ---------------------------------------------------------------------------------------------------

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The loss scaler of fp16 training; None in other precisions."""
        return getattr(self.trainer.precision_plugin, "scaler", None)

    @property
    def loss_scale(self) -> float:
        """What fp16 training multiplies its losses with; 1 in other precisions."""
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def _whose_turn(self, phase: Phase) -> tuple[bool, bool]:
        """Which of generator and discriminator are updated this round."""
        both = phase.generator and phase.adversarial
        if both and self.update == "alternate":
            return (True, False) if self.rounds % 2 == 0 else (False, True)
        return phase.generator, phase.adversarial

    def _balanced(self, turn: Turn, last: bool) -> Turn:
        """``turn`` with the factors of its entries; the ``last`` batch of a round measures for them."""
        if self.balance is None or not turn.generator:
            return turn
        judged = self.discriminator is not None and any(self.adversarial_weights.values())
        active = active_entries(self.bundle, turn.phase, self.rounds, judged)
        weigh = self.balance.due(self.rounds, active) if last else []
        return turn._replace(factors=self.balance.factors(active), weigh=weigh)

    def _finish_round(self, turn: Turn, entry_norms: Mapping[str, float]) -> None:
        scale = self.loss_scale
        players: dict[str, Trainable | None] = {
            "generator": self.autoencoder if turn.generator else None,
            "discriminator": self.discriminator if turn.discriminator else None,
        }
        norms = self.optimizer_configs.clip(players, scale)
        bad = not_finite(self._window)
        if self.scaler is None:
            bad += not_finite(norms)
        opt_gen, opt_disc = self.optimizer_configs.pair(self.optimizers())
        window, self._window, self._micro = self._window, {}, 0
        if not all_ranks_agree(not bad, self.device):
            self._zero_gradients()
            self.faults.bad(bad, self.rounds)
            return
        self.faults.good()
        if self.balance is not None and turn.weigh:
            means = over_ranks(list(entry_norms.values()), self.device, "mean")
            self.balance.add(dict(zip(entry_norms, means, strict=True)), self.rounds)
        if turn.generator:
            opt_gen.step()
            if self.autoencoder_ema is not None:
                self.autoencoder_ema.update()
        if turn.discriminator and opt_disc is not None and self.discriminator is not None:
            _rescale(self.discriminator, self.loss_scale / scale)
            opt_disc.step()
        self._zero_gradients()
        if self.kl_target is not None and turn.generator and KL in window:
            self.kl_target.update(over_ranks([float(window[KL])], self.device, "mean")[0])
            self._set_kl_weight(self.kl_target, self.kl_target.weight)
        self.optimizer_configs.step_schedulers(self.lr_schedulers(), turn.generator, turn.discriminator)
        self.rounds += 1
        if self.rounds % self.log_every == 0 or self.rounds == 1:
            index = self.schedule.phases.index(turn.phase)
            rates = self.optimizer_configs.rates(self.optimizers())
            log = round_log(window, norms, rates, self.last_output_gradients)
            log |= {f"train/balance/{entry}": factor for entry, factor in turn.factors.items()}
            if self.kl_target is not None:
                log["train/kl_weight"] = self.kl_target.weight
            self._write({**log, "train/phase": float(index), "train/bad_batches": float(self.faults.total)})

    def _set_kl_weight(self, kl_target: KLTarget, weight: float) -> None:
        kl_target.weight = self.bottleneck_weights["kl"] = weight

    def _zero_gradients(self) -> None:
        for optimizer in self.optimizer_configs.pair(self.optimizers()):
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)

    def _write(self, log: Mapping[str, float]) -> None:
        self.last_log.update(log)
        for logger in self.loggers:
            logger.log_metrics(dict(log), step=self.rounds)


def _rescale(player: Trainable, ratio: float) -> None:
    """fp16: a step can change the scale by which the next one divides, but both players' gradients had one."""
    if ratio != 1:
        for parameter in player.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(ratio)
