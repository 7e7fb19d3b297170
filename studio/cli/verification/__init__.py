"""Commands about suspect files: verdicts, cases, Content Credentials, receipts."""
