"""Many files: process pools, journals, resumable scans."""
