"""The training wrapper: rounds of generator and discriminator updates over the phases of a schedule.

One round on one batch: one generator forward; the losses' gradient with respect to the decoded audio, cut off from
the generator; the discriminator's gradients from the same passes (see :mod:`.adversary`); one backward through the
generator with that gradient. So the discriminator's graphs are gone before the generator's backward begins, no loss
reaches a player it is not meant for, and under DDP each player's gradients are reduced in calls of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from ema_pytorch import EMA
from torch import Tensor, nn
from torch.profiler import record_function

from ..compute import keep_freed_memory
from ..config import build, check_choice, choice_error
from ..losses import LossBundle, gradient_norms
from ..weights import config_metadata, write_weights
from .adversary import adversarial_pass
from .faults import FaultCounter, all_ranks_agree, not_finite
from .memory_plan import plan_checkpointing
from .optimizers import Optimizers
from .phases import Phase, Schedule
from .round_log import latent_statistics, round_log
from .validation import Validation

UPDATES = ("both", "alternate")


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
        validation: metrics of ``eval_loss_configs``.
        ema_copy: a second autoencoder that becomes the moving average; None for no EMA.
        ema_config: arguments of :class:`ema_pytorch.EMA`.
        update: ``"both"`` players every round, or ``"alternate"`` as the host does.
        force_input_mono: encode the mean of the channels.
        latent_mask_ratio: share of latent values set to 0 in training.
        max_bad_batches: batches in a row with NaN or infinite values that stop the run.
        log_every: rounds between rows of the log.
        gradient_log_every: rounds between measurements of each term's gradient at the decoder's output; 0 for never.

    Attributes read by the host's export and demo code: ``autoencoder``, ``autoencoder_ema``, ``use_ema``,
    ``discriminator``, ``force_input_mono``. ``rounds`` counts finished rounds.
    """

    autoencoder: Any
    discriminator: Any
    device: torch.device

    def __init__(
        self,
        autoencoder: nn.Module,
        bundle: LossBundle,
        optimizers: Optimizers,
        schedule: Schedule,
        discriminator: nn.Module | None = None,
        adversarial_weights: Mapping[str, float] | None = None,
        bottleneck_weights: Mapping[str, float] | None = None,
        validation: Validation | None = None,
        ema_copy: nn.Module | None = None,
        ema_config: Mapping[str, Any] | None = None,
        update: str = "both",
        force_input_mono: bool = False,
        latent_mask_ratio: float = 0.0,
        max_bad_batches: int = 20,
        log_every: int = 10,
        gradient_log_every: int = 100,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.bundle = bundle
        self.discriminator = discriminator
        self.use_disc = discriminator is not None
        self.adversarial_weights = {"adversarial": 0.0, "feature_matching": 0.0, **(adversarial_weights or {})}
        self.bottleneck_weights = dict(bottleneck_weights or {})
        self.optimizer_configs, self.schedule = optimizers, schedule
        self.validation = validation
        self.update = check_choice("training.update", update, UPDATES)
        self.force_input_mono = force_input_mono
        self.latent_mask_ratio = latent_mask_ratio
        self.log_every, self.gradient_log_every = log_every, gradient_log_every
        self.use_ema = ema_copy is not None
        self.autoencoder_ema: EMA | None = None
        if ema_copy is not None:
            settings = {"beta": 0.9999, "power": 3 / 4, "update_every": 1, "update_after_step": 1, **(ema_config or {})}
            injected = {"model": autoencoder, "ema_model": ema_copy, "include_online_model": False}
            self.autoencoder_ema = build("training.ema", EMA, settings, **injected)
        self.faults = FaultCounter(max_bad_batches)
        self.accumulate = 1
        self.rounds = 0
        self._micro = 0
        self._planned = False
        self._window: dict[str, Tensor] = {}
        self.embedded_config: dict[str, Any] | None = None
        self.last_log: dict[str, float] = {}
        self.last_output_gradients: dict[str, float] = {}

    # -- Lightning hooks ---------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        return self.optimizer_configs.build(self.autoencoder, self.discriminator, self.schedule)

    def forward(self, reals: Tensor) -> Tensor:
        """Reconstruction of (batch, channels, time)."""
        return self.autoencoder.decode(self.autoencoder.encode(reals))

    def on_fit_start(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()

    def on_train_start(self) -> None:
        # The noise of the bottleneck: another on every rank, another after a resume, the same in a repeated run.
        seed = torch.initial_seed() + 7919 * self.global_rank + 104729 * self.rounds
        torch.manual_seed(seed % 2**32)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        if not self._planned:
            self._planned = plan_checkpointing(self, self._audio(batch))
        phase, position = self.schedule.at(self.rounds)
        generator, discriminator = self._players(phase)
        if self._micro == 0:
            self.optimizer_configs.set_rates(self.optimizers(), phase, position)
        values, terms, output = self._accumulate(self._audio(batch), phase, generator, discriminator)
        for key, value in values.items():
            self._window[key] = self._window.get(key, torch.zeros_like(value)) + value / self.accumulate
        self._micro += 1
        if self._micro >= self.accumulate:
            if output is not None and self.gradient_log_every and self.rounds % self.gradient_log_every == 0:
                self.last_output_gradients.update(gradient_norms(terms, output))
            with record_function("ear_sat: clipping, optimizers, moving average"):
                self._finish_round(phase, generator, discriminator)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.validation is not None:
            reals = self._audio(batch)
            self.validation.add(self._reconstruct(reals), reals)

    def on_validation_epoch_end(self) -> None:
        if self.validation is not None:
            results = self.validation.finish(self.device)
            self._write({f"val/{name}": value for name, value in results.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ear_sat"] = {"rounds": self.rounds, "bad_batches": self.faults.total}
        if self.embedded_config is not None:
            checkpoint["model_config"] = self.embedded_config

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get("ear_sat", {})
        self.rounds = int(state.get("rounds", 0))
        self.faults.total = int(state.get("bad_batches", 0))
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
    def exported_autoencoder(self) -> Any:
        """The moving average where there is one, else the autoencoder itself."""
        return self.autoencoder if self.autoencoder_ema is None else self.autoencoder_ema.ema_model

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _audio(self, batch: Any) -> Tensor:
        reals = batch[0]
        if reals.ndim == 4 and reals.shape[0] == 1:  # WebDataset adds an axis.
            reals = reals[0]
        return reals.unsqueeze(1) if reals.ndim == 2 else reals

    def _encoder_input(self, reals: Tensor) -> Tensor:
        return reals.mean(dim=1, keepdim=True) if self.force_input_mono and reals.shape[1] > 1 else reals

    @torch.no_grad()
    def _reconstruct(self, reals: Tensor) -> Tensor:
        """Reconstruction by the exported model in eval mode, cut to the length of ``reals``."""
        model = self.exported_autoencoder
        training = model.training
        model.eval()
        try:
            decoded = model.decode(model.encode(self._encoder_input(reals)))
        finally:
            model.train(training)
        return nn.functional.pad(decoded, (0, max(0, reals.shape[-1] - decoded.shape[-1])))[..., : reals.shape[-1]]

    def _players(self, phase: Phase) -> tuple[bool, bool]:
        """Which of generator and discriminator are updated this round."""
        both = phase.generator and phase.adversarial
        if both and self.update == "alternate":
            return (True, False) if self.rounds % 2 == 0 else (False, True)
        return phase.generator, phase.adversarial

    def _accumulate(
        self, reals: Tensor, phase: Phase, generator: bool, discriminator: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
        """Adds one batch's gradients.

        Returns values to log, the terms on the decoded audio (graphs kept in rounds that measure their gradients), and
        the decoded audio as their leaf, None where it needs no gradient.
        """
        with torch.set_grad_enabled(generator), record_function("ear_sat: generator forward"):
            latents, info = self.autoencoder.encode(self._encoder_input(reals), return_info=True)
            if self.latent_mask_ratio > 0:
                latents = latents.masked_fill(torch.rand_like(latents) < self.latent_mask_ratio, 0)
            decoded = self.autoencoder.decode(latents)
            length = min(decoded.shape[-1], reals.shape[-1])
            decoded, reals = decoded[..., :length], reals[..., :length].float()
        output = decoded.detach().float().requires_grad_(generator)
        values = {"input/peak": reals.abs().max(), **latent_statistics(latents, info)}
        weighted: dict[str, Tensor] = {}
        raw: dict[str, Tensor] = {}
        if generator:
            with record_function("ear_sat: reconstruction losses"):
                losses = self.bundle(output, reals, step=self.rounds, entries=phase.losses)
            weighted, raw = dict(losses.weighted), dict(losses.raw)
        if self.discriminator is not None and phase.adversarial:
            adversary = adversarial_pass(
                self.discriminator, reals, output, train=discriminator, backward=self._discriminator_backward
            )
            values["loss/discriminator"] = adversary.discriminator.detach()
            if generator:
                for key, weight in self.adversarial_weights.items():
                    raw[f"discriminator/{key}"] = getattr(adversary, key)
                    weighted[f"discriminator/{key}"] = weight * raw[f"discriminator/{key}"]
        terms = dict(weighted)
        if generator:
            bottleneck = self._bottleneck_terms(info, phase)
            raw |= bottleneck
            weighted |= {
                f"bottleneck/{k}": w * bottleneck[f"bottleneck/{k}"]
                for k, w in self.bottleneck_weights.items()
                if f"bottleneck/{k}" in bottleneck
            }
            self._generator_backward(decoded, output, terms, [v for k, v in weighted.items() if k not in terms])
            values["loss/total"] = torch.stack([v.detach().float() for v in weighted.values()]).sum()
        values |= {f"raw/{key}": value.detach().float() for key, value in raw.items()}
        values |= {f"weighted/{key}": value.detach().float() for key, value in weighted.items()}
        return values, terms, output if generator else None

    def _bottleneck_terms(self, info: Mapping[str, Any], phase: Phase) -> dict[str, Tensor]:
        if phase.losses is not None and "bottleneck" not in phase.losses:
            return {}
        for key in self.bottleneck_weights:
            if key not in info:
                scalars = [k for k, v in info.items() if isinstance(v, Tensor) and v.ndim == 0]
                raise choice_error("key in loss_configs.bottleneck.weights", key, scalars)
        return {f"bottleneck/{key}": info[key] for key in self.bottleneck_weights}

    def _keeps_term_graphs(self) -> bool:
        last = self._micro == self.accumulate - 1
        return last and self.gradient_log_every > 0 and self.rounds % self.gradient_log_every == 0

    def _discriminator_backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.manual_backward(loss / self.accumulate, **kwargs)

    def _generator_backward(
        self, decoded: Tensor, output: Tensor, terms: Mapping[str, Tensor], others: list[Tensor]
    ) -> None:
        """Back-propagates ``terms`` to ``output``, then that gradient and ``others`` through the generator."""
        scaler = self._scaler()
        scale = 1.0 if scaler is None else float(scaler.get_scale())
        gradient = torch.zeros_like(output)
        live = [value for value in terms.values() if value.requires_grad]
        if live:
            # In fp16 the discriminator's own gradients underflow without the scale.
            objective = torch.stack([value.float() for value in live]).sum() * scale
            with record_function("ear_sat: all losses back to the audio"):
                (gradient,) = torch.autograd.grad(objective, output, retain_graph=self._keeps_term_graphs())
            gradient = gradient / scale
        surrogate = (decoded.float() * gradient).sum()
        for value in others:
            surrogate = surrogate + value.float()
        if surrogate.requires_grad:
            with record_function("ear_sat: generator backward"):
                self.manual_backward(surrogate / self.accumulate)

    def _scaler(self) -> Any:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    # -- one round ---------------------------------------------------------------------------------------------------

    def _finish_round(self, phase: Phase, generator: bool, discriminator: bool) -> None:
        scaler = self._scaler()
        scale = 1.0 if scaler is None else float(scaler.get_scale())
        norms = self.optimizer_configs.clip(self, generator, discriminator, scale)
        bad = not_finite(self._window)
        if scaler is None:
            bad += not_finite(norms)
        opt_gen, opt_disc = self.optimizer_configs.pair(self.optimizers())
        window, self._window, self._micro = self._window, {}, 0
        if not all_ranks_agree(not bad, self.device):
            self._zero_gradients()
            self.faults.bad(bad, self.rounds)
            return
        self.faults.good()
        if generator:
            opt_gen.step()
            if self.autoencoder_ema is not None:
                self.autoencoder_ema.update()
        if discriminator and opt_disc is not None:
            opt_disc.step()
        self._zero_gradients()
        self.optimizer_configs.step_schedulers(self.lr_schedulers(), generator, discriminator)
        self.rounds += 1
        if self.rounds % self.log_every == 0 or self.rounds == 1:
            index = self.schedule.phases.index(phase)
            rates = self.optimizer_configs.rates(self.optimizers())
            log = round_log(window, norms, rates, self.last_output_gradients)
            self._write({**log, "train/phase": float(index), "train/bad_batches": float(self.faults.total)})

    def _zero_gradients(self) -> None:
        for optimizer in self.optimizer_configs.pair(self.optimizers()):
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)

    def _write(self, log: Mapping[str, float]) -> None:
        self.last_log.update(log)
        for logger in self.loggers:
            logger.log_metrics(dict(log), step=self.rounds)
