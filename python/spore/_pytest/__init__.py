"""The engine of the pytest plugin: `controller` on the host, `guest` in the machine."""
