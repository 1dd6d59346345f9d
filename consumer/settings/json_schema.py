"""JSON Schema of the settings file, for editors and for checks before deployment.

The schema describes the TOML file: a secret may be replaced by ``<key>_file``, durations are text with a unit or a number of seconds, and
null does not exist. ``x-environment`` names the variable of a setting.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from consumer.delivery.handler_settings import HandlerSpec
from consumer.durations import format_ms
from consumer.settings.field_paths import is_section, variable
from consumer.settings.model import Settings
from consumer.settings.values import is_duration, may_come_from_file

__all__ = ["settings_schema"]


def settings_schema() -> dict[str, Any]:
    """Build the JSON Schema (draft 2020-12) of the settings file."""
    schema = Settings.model_json_schema(schema_generator=_SchemaWithoutNull)
    definitions = schema["$defs"]
    _complete_schema(Settings, schema, ())
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            _complete_schema(model, definitions[model.__name__], (section,))
    schema["properties"]["handlers"]["additionalProperties"] = False
    _complete_schema(HandlerSpec, definitions[HandlerSpec.__name__], ("handlers", "<name>"))
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "Settings of cadence-consumer",
    }


class _SchemaWithoutNull(GenerateJsonSchema):
    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        property_schema = super().default_schema(schema)
        if property_schema.get("default", ...) is None:
            del property_schema["default"]
        return property_schema


def _complete_schema(model: type[BaseModel], schema: dict[str, Any], path_prefix: tuple[str, ...]) -> None:
    properties = schema["properties"]
    if "description" in schema:
        schema["description"] = (
            schema["description"]
            .partition("\n")[0]
            .split("``: ", 1)[-1]
            .partition(". ")[0]
            .rstrip(".")
            .replace("``", "`")
        )
    for name, field in model.model_fields.items():
        property_schema = properties[name]
        property_schema.pop("title", None)
        if not is_section((*path_prefix, name)):
            property_schema["x-environment"] = variable((*path_prefix, name))
        if is_duration(field) and field.default is not None:
            property_schema["default"] = format_ms(field.default)
        if may_come_from_file(field):
            properties[f"{name}_file"] = {
                "type": "string",
                "description": f"Path of a file with the value of {name}, relative to this one.",
                "x-environment": variable((*path_prefix, f"{name}_file")),
            }
