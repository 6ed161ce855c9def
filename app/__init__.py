"""Headwater: streams of language models as durable logs."""

__version__ = "0.1.0"
