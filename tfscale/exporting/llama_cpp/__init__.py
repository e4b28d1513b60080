"""Networks as GGUF files, which llama.cpp runs."""
