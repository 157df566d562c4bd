"""One run on disk: its identity, its folder, its records, and how it ended."""
