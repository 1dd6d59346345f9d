"""Interfaces between the halves of the service and the outside, and the values that cross them."""
