"""What ``import ear_sat`` gives."""

import subprocess
import sys


def test_models_losses_and_metrics_come_when_they_are_asked_for() -> None:
    program = """if True:
        import sys
        import ear_sat
        assert "torch" not in sys.modules
        found = (ear_sat.losses.LossBundle, ear_sat.metrics.si_sdr_db, ear_sat.models.Autoencoder)
        print(*(each.__name__ for each in found))
        """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["LossBundle", "si_sdr_db", "Autoencoder"]
