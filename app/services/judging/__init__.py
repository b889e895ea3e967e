"""Judgments: recorded, corrected, read back; practice runs."""
