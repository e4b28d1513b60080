"""Model families: one file each, with the config class that is registered by the family's name."""
