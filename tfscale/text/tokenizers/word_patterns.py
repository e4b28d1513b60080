"""The regular expressions by which published models cut a text into words before byte pairs are
merged; GPT-2's is built into the library `tokenizers`."""

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's, in which each digit is a word."""
LLAMA_3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Llama 3's, with words of up to three digits."""
