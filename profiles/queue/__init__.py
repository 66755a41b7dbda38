"""The queue: bluesky-queueserver over the same session that a user opens."""

from exitwave.profiles.queue.errors import QueueError
from exitwave.profiles.queue.server import QueueServer, run_queue

__all__ = ["QueueError", "QueueServer", "run_queue"]
