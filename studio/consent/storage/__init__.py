"""How consent is stored: its history and its ledger entries."""
