"""Optimizers: one file each, with the declaration that is registered by the optimizer's name."""
