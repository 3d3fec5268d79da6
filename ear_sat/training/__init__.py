"""The training engine: a Lightning module that trains a generator and a discriminator; knows no host."""
