from tests.support.rigs.delivery_fixtures import store, world  # noqa: F401 - fixtures of this folder
