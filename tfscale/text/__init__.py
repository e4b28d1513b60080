"""Text: where it comes from (`corpora`), how it is cleaned (`cleaning`), and how it becomes tokens
(`tokenizers`)."""
