"""Which recipe is better: trains the variants of a plan with several seeds, and measures them on whole tracks."""

from .plan import Plan, Variant, load_plan
from .run import Comparison, compare

__all__ = ["Comparison", "Plan", "Variant", "compare", "load_plan"]
