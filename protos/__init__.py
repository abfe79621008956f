"""The contracts: the only thing that server, converters and load tests share."""
