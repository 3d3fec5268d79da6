"""What people look at: tables on the terminal, plots and audio files. Needs neither the host nor Lightning."""
