"""A simulated Salesforce org: OAuth, CometD, REST, cadences, and faults on demand.

    async with Sandbox(SandboxOptions(seed=7)) as sandbox:
        run = sandbox.world.enrol("Outbound Prospecting")
        sandbox.world.complete_step(run)
        sandbox.faults.inject("drop_session")
        sandbox.ledger.messages(channel="/data/ChangeEvents")

It serves any client over real sockets and imports nothing of the service that consumes it, which an import contract
enforces: a simulator that shares code with the code under test proves nothing.
"""

from consumer.sandbox.actions import ActionOptions
from consumer.sandbox.bus import ALL_CHANGES, EventBus, Ledger, PublishedEvent, entity_channel
from consumer.sandbox.cadences import CadencePlan, StepPlan
from consumer.sandbox.clock import ManualClock, OrgClock
from consumer.sandbox.cometd import CometdOptions
from consumer.sandbox.errors import (
    IllegalTransition,
    PortUnavailable,
    SandboxError,
    UnknownFault,
    UnknownRecord,
)
from consumer.sandbox.faults import FAULT_KINDS, FaultOptions, Faults
from consumer.sandbox.oauth import Credentials, OAuthOptions
from consumer.sandbox.org import Org, OrgOptions
from consumer.sandbox.runs import EngagementOptions
from consumer.sandbox.schema import STEP_TRACKER, TRACKER
from consumer.sandbox.server import Sandbox, SandboxOptions
from consumer.sandbox.world import World, WorldOptions

__all__ = [
    "ALL_CHANGES",
    "FAULT_KINDS",
    "STEP_TRACKER",
    "TRACKER",
    "ActionOptions",
    "CadencePlan",
    "CometdOptions",
    "Credentials",
    "EngagementOptions",
    "EventBus",
    "FaultOptions",
    "Faults",
    "IllegalTransition",
    "Ledger",
    "ManualClock",
    "OAuthOptions",
    "Org",
    "OrgClock",
    "OrgOptions",
    "PortUnavailable",
    "PublishedEvent",
    "Sandbox",
    "SandboxError",
    "SandboxOptions",
    "StepPlan",
    "UnknownFault",
    "UnknownRecord",
    "World",
    "WorldOptions",
    "entity_channel",
]
