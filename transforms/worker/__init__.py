"""What the threads of a worker process share."""
