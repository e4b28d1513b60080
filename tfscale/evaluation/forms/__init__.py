"""Forms of multiple choice; each file is one, by its name."""
