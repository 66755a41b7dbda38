"""Named errors of the queue."""

__all__ = ["QueueError"]


class QueueError(RuntimeError):
    """Redis or the RE Manager cannot be started, reached, or refuses what it is asked."""
