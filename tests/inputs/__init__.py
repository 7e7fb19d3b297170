"""Files as people have them, made on the spot, with what every command should say of each.

``python -m tests.inputs`` makes them all, runs every command on each and prints a table; with
``--before TREE`` (a checkout of an earlier commit) the table has a column for what was said there.
A module of cases has a tuple ``CASES`` and stands in :data:`MODULES`; add yours there.
"""

MODULES = ("tests.inputs.files", "tests.inputs.evidence", "tests.inputs.lines")
