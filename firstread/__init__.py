"""The command: composition of the gateway, the workers and the tools around them."""
