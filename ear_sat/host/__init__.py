"""Everything that touches stable-audio-tools: registration, the training wrapper, fixes for the host."""
