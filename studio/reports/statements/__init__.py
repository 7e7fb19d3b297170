"""Statements of use for rights holders, their rates and exports."""
