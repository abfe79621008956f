"""Prints tritonclient's messages, enums and methods as JSON; its modules and ours cannot live in one process."""

import json
import sys
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

FILES = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)


def fields(message: Any) -> dict[str, list[object]]:
    return {
        field.name: [
            field.number,
            field.type,
            field.is_repeated,
            field.message_type.full_name if field.message_type else "",
        ]
        for field in message.fields
    }


def main() -> None:
    messages = {}
    todo = [message for file in FILES for message in file.message_types_by_name.values()]
    while todo:
        message = todo.pop()
        messages[message.full_name] = fields(message)
        todo += message.nested_types
    enums = {
        enum.full_name: {value.name: value.number for value in enum.values}
        for file in FILES
        for enum in file.enum_types_by_name.values()
    }
    methods = {
        method.name: [
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        ]
        for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    }
    json.dump({"messages": messages, "enums": enums, "methods": methods}, sys.stdout)


if __name__ == "__main__":
    main()
