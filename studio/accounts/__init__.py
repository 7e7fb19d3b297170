"""Accounts: who may sign in, with which role, and which outputs are theirs.

A studio without accounts belongs to whoever sits at the machine. Once one account exists, sign-in
is required, for the page, the REST layer and the command line alike. What a role permits is
:mod:`studio.accounts.permissions`; the rules for people are ``docs/accounts.md``.
"""

from __future__ import annotations

from studio.accounts.service import Account, Accounts
from studio.accounts.sessions import Session, SessionKind

__all__ = ["Account", "Accounts", "Session", "SessionKind"]
