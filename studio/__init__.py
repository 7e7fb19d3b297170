"""The studio: music on consented style tags, sealed, recorded, and recognised again.

Start at :mod:`studio.services`; the way a request takes is :mod:`studio.pipeline`, the desk that
examines suspect files :mod:`studio.verify`. Importing this package does nothing.
"""
