"""Use cases of the studio, and the object that holds its parts."""
