"""A local stand-in for the vendors' robots, for people without a token, for the demo and for the tests.

It judges a call as the vendor does and shows what a group would see: in the terminal, on a page, and as JSON.
"""
