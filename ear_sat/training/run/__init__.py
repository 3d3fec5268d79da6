"""A training run: its folder, checkpoints, tables, pictures, and the command that goes from configs to an export."""
