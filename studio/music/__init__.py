"""Generation: which models there are, how they are loaded, and music made from tags.

:mod:`~studio.music.models.config` lists models and their licences,
:mod:`~studio.music.models.generator` makes music with them. Nothing is imported here, so that
listing models does not load torch.
"""
