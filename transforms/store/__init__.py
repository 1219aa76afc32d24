"""Files on disks and stores."""
