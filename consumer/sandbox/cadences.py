"""The cadences of the simulated org: their steps, their waits, and which leads on to which.

Cadence structure is set-up, not history: it is installed into the org's records (so that names can be
looked up over REST) and read by whoever moves targets through it. The built-in catalogue has one cadence
of each temper: automatic, manual, waiting, chained.
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
    """One step to be: Salesforce's step type, title, and `wait_ms` of a Wait step."""

    type: str
    title: str
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class CadencePlan:
    """A cadence to be; `leads_to` names the cadence that a final DaisyChain step continues with."""

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
    """Installs cadence plans into an org and finds cadences by name or id, steps by id."""

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
        """All cadences in the order in which they were installed."""
        return tuple(self._cadences.values())

    def cadence(self, name_or_id: str) -> Cadence:
        """A cadence; raises KeyError when there is none of this name or id."""
        return self._cadences[self._names.get(name_or_id, name_or_id)]

    def step(self, step_id: str) -> Step:
        """A step by id; raises KeyError."""
        return self._steps[step_id]

    def after(self, step: Step) -> Step | None:
        """The step that follows, or None after the last one."""
        steps = self._cadences[step.cadence_id].steps
        return steps[step.position + 1] if step.position + 1 < len(steps) else None
