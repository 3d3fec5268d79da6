"""``python -m ear_sat <command>``: the command ``ear-sat``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
