"""Commands for whoever runs the site: accounts, ledger, backup, logs, statements."""
