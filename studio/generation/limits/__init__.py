"""How much one account may generate, and which requests repeat an earlier one."""
