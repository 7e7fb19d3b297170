"""What every part of the studio uses; it imports no other part."""
