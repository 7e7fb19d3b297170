"""Commands about consent: the registrar's, and those that rights holders run themselves."""
