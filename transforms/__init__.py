"""What happens to the data: reading, decoding, inference, maps, boxes, thumbnails, writing."""
