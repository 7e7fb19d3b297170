"""The studio: music on consented style tags, sealed, recorded, and recognised again.

Start at :mod:`studio.app.container`; the way a request takes is :mod:`studio.generation.pipeline`,
the desk that examines suspect files :mod:`studio.verification.verifier`. Importing this package
does nothing.
"""
