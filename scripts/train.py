"""Train εar-VAE, or any model of stable-audio-tools, from JSON configs; see --help."""

import sys

from ear_sat.cli import errors, train

if __name__ == "__main__":
    sys.exit(errors.run(train.main))
