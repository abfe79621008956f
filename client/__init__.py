"""The Python client: rows in, named answers out, over our own stubs; sync and asyncio."""
