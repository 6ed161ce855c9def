"""The two homes side by side: load, measures, cost, report. Speaks HTTP, and imports nothing of the app."""
