"""Reconstruction and adversarial losses in plain PyTorch."""

from ..weighting import a_gain, k_gain, k_weighting_biquads
from .adversarial import FORMS, AdversarialForm, discriminator_loss, feature_matching, generator_loss
from .balance import gradient_norms
from .bundle import Entry, LossBundle, LossOutput, check_weights
from .magnitude import MagnitudeTerm, adaptive_log_distance, log_distance
from .phase import (
    CorrelationTerm,
    PhaseDerivativeTerm,
    complex_distance,
    correlation_loss,
    derivative_loss,
    phase_error,
    phasor_derivative_loss,
)
from .registry import LOSS_TYPES, is_loss_type, register_loss
from .spectra import Spectra, SpectraPair
from .stft import FLOOR, STFT, Resolution
from .term import SpectralTerm
from .weighting import Weighting, bin_gain, filtered

__all__ = [
    "FLOOR",
    "FORMS",
    "LOSS_TYPES",
    "STFT",
    "AdversarialForm",
    "CorrelationTerm",
    "Entry",
    "LossBundle",
    "LossOutput",
    "MagnitudeTerm",
    "PhaseDerivativeTerm",
    "Resolution",
    "Spectra",
    "SpectraPair",
    "SpectralTerm",
    "Weighting",
    "a_gain",
    "adaptive_log_distance",
    "bin_gain",
    "check_weights",
    "complex_distance",
    "correlation_loss",
    "derivative_loss",
    "discriminator_loss",
    "feature_matching",
    "filtered",
    "generator_loss",
    "gradient_norms",
    "is_loss_type",
    "k_gain",
    "k_weighting_biquads",
    "log_distance",
    "phase_error",
    "phasor_derivative_loss",
    "register_loss",
]
