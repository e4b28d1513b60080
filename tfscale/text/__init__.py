"""Text: its sources (`corpora`), its cleaning (`cleaning`), its tokens (`tokenizers`)."""
