"""Schema of the settings and its properties."""

from consumer.settings.json_schema import settings_schema

SCHEMA = settings_schema()


def properties():
    """Path and schema of every setting of the service's own."""
    for section, told in SCHEMA["properties"].items():
        if "$ref" in told:
            definition = SCHEMA["$defs"][told["$ref"].rsplit("/", 1)[1]]
            yield from (((section, key), one) for key, one in definition["properties"].items())
        elif section != "handlers":
            yield (section,), told
