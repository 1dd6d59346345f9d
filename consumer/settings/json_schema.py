"""The contract of the settings as JSON Schema, for editors and for whoever checks files before they are deployed.

It describes the TOML file: secrets may also be named by ``<key>_file``, spans are text with a unit or a number of seconds, and there is no
null. ``x-environment`` names the variable of a setting.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from consumer.delivery.spec import HandlerSpec
from consumer.durations import as_written
from consumer.settings.model import Settings
from consumer.settings.schema import is_section, variable
from consumer.settings.values import is_span, may_come_from_file

__all__ = ["settings_schema"]


def settings_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the settings file."""
    schema = Settings.model_json_schema(schema_generator=_WithoutNull)
    definitions = schema["$defs"]
    _complete(Settings, schema, ())
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            _complete(model, definitions[model.__name__], (section,))
    schema["properties"]["handlers"]["additionalProperties"] = False
    _complete(HandlerSpec, definitions[HandlerSpec.__name__], ("handlers", "<name>"))
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "Settings of cadence-consumer",
    }


class _WithoutNull(GenerateJsonSchema):
    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        told = super().default_schema(schema)
        if told.get("default", ...) is None:
            del told["default"]
        return told


def _complete(model: type[BaseModel], schema: dict[str, Any], at: tuple[str, ...]) -> None:
    properties = schema["properties"]
    if "description" in schema:
        schema["description"] = (
            schema["description"].split("``: ", 1)[-1].partition(". ")[0].rstrip(".").replace("``", "`")
        )
    for name, field in model.model_fields.items():
        told = properties[name]
        told.pop("title", None)
        if not is_section((*at, name)):
            told["x-environment"] = variable((*at, name))
        if is_span(field) and field.default is not None:
            told["default"] = as_written(field.default)
        if may_come_from_file(field):
            properties[f"{name}_file"] = {
                "type": "string",
                "description": f"Path of a file with the value of {name}, relative to this one.",
                "x-environment": variable((*at, f"{name}_file")),
            }
