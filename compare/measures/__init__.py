"""From what was seen of single streams to figures with intervals, and to what differs beyond noise."""
