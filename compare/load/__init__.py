"""Streams asked of targets when a profile says so, and what was seen of each."""
