"""Studies: a ledger of cells, workers that pull them, and the record that everything else reads."""
