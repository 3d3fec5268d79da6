"""Everything that touches stable-audio-tools: registration, its types for the engine, mends, and runs of its models."""
