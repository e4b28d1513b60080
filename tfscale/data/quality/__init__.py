"""Which documents of a text are kept: filters, removal, decontamination, near duplicates."""
