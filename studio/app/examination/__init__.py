"""The examination of a recording, in full for accounts and in brief for the public."""
