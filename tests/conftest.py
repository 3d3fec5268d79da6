"""Shared by all tests."""

import os

# The host prepares torch.compile on import, which starts idle compiler processes; two test workers share two cores.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
