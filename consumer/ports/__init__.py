"""Ports: interfaces of the service to the outside, and the values that cross them."""
