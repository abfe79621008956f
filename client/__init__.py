"""The Python client, sync and asyncio: takes rows, returns named outputs, and uses our own stubs."""
