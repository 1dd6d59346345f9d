"""Cadences of the simulated org: their steps, waits and successors.

Cadences are set-up and publish no events: the catalogue installs them into the org's records, so that REST finds
their names, and `Runs` reads them to move targets on. The built-in catalogue covers automatic, manual, waiting and
chained cadences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.sandbox.org import Org
from consumer.sandbox.schema import CADENCE, CADENCE_STEP

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Definition of a step: step type, title, and `wait_ms` of a Wait step."""

    type: str
    title: str
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class CadencePlan:
    """Definition of a cadence.

    `leads_to` names the cadence that a final DaisyChain step continues with.
    """

    name: str
    steps: tuple[StepPlan, ...]
    leads_to: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An installed step."""

    id: str
    cadence_id: str
    position: int
    plan: StepPlan


@dataclass(frozen=True, slots=True)
class Cadence:
    """An installed cadence."""

    id: str
    name: str
    steps: tuple[Step, ...]
    leads_to: str | None


BUILT_IN: Final = (
    CadencePlan(
        "Inbound Demo Request",
        (
            StepPlan("AutoSendAnEmail", "Thank you"),
            StepPlan("MakeACall", "Call within the hour"),
            StepPlan("Wait", "Wait one day", DAY),
            StepPlan("SendAnEmail", "Personal follow-up"),
        ),
    ),
    CadencePlan(
        "Outbound Prospecting",
        (
            StepPlan("SendAnEmail", "First touch"),
            StepPlan("Wait", "Wait two days", 2 * DAY),
            StepPlan("MakeACall", "Call"),
            StepPlan("LinkedInMail", "InMail"),
            StepPlan("DaisyChain", "On to nurture"),
        ),
        leads_to="Long-term Nurture",
    ),
    CadencePlan(
        "Long-term Nurture",
        (
            StepPlan("AutoSendAnEmail", "Newsletter"),
            StepPlan("Wait", "Wait a week", 7 * DAY),
            StepPlan("AutoSendAnEmail", "Case study"),
        ),
    ),
    CadencePlan(
        "Event Follow-up",
        (
            StepPlan("MakeACall", "Thank for coming"),
            StepPlan("CreateTask", "Send slides"),
            StepPlan("LinkedInConnection", "Connect"),
        ),
    ),
)


class Catalogue:
    """Install cadence plans into an org, and find cadences by name or id, steps by id."""

    def __init__(self, org: Org, plans: Iterable[CadencePlan] = BUILT_IN) -> None:
        self._cadences: dict[str, Cadence] = {}
        self._names: dict[str, str] = {}
        self._steps: dict[str, Step] = {}
        for plan in plans:
            self._install(org, plan)

    def _install(self, org: Org, plan: CadencePlan) -> None:
        cadence_id = org.install(CADENCE, {"Name": plan.name, "State": "Active", "Type": "Standard"})
        steps: list[Step] = []
        for position, step_plan in enumerate(plan.steps):
            values = {"Title": step_plan.title, "Type": step_plan.type, "ActionCadenceId": cadence_id}
            steps.append(Step(org.install(CADENCE_STEP, values), cadence_id, position, step_plan))
        self._cadences[cadence_id] = Cadence(cadence_id, plan.name, tuple(steps), plan.leads_to)
        self._names[plan.name] = cadence_id
        self._steps |= {step.id: step for step in steps}

    @property
    def cadences(self) -> Sequence[Cadence]:
        """All cadences, in order of installation."""
        return tuple(self._cadences.values())

    def cadence(self, name_or_id: str) -> Cadence:
        """Find a cadence; raises KeyError if none has this name or id."""
        return self._cadences[self._names.get(name_or_id, name_or_id)]

    def step(self, step_id: str) -> Step:
        """Find a step by id; raises KeyError."""
        return self._steps[step_id]

    def after(self, step: Step) -> Step | None:
        """Return the next step of the cadence, or None after the last one."""
        steps = self._cadences[step.cadence_id].steps
        return steps[step.position + 1] if step.position + 1 < len(steps) else None
