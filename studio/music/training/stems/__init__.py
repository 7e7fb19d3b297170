"""Render stems, measure instruments, train and judge the stem codec."""
