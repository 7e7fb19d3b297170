"""What an operator needs: readiness, recovery, backup and restore, audit, profiling."""
