"""Remove a target from its cadence when an e-mail to it bounced.

Every further e-mail of the cadence to that address would bounce too, and bounces damage the sender's reputation. When a step fails because
its e-mail bounced, this handler removes the run and records a disposition. It is an example of a handler that safely acts on Salesforce.

::

    [handlers.remove_bounced]
    use = "remove_bounced"
    max_age = "24h"                     # do not act on old bounces after a long downtime
    settings.disposition = "Bad Data"

Why it is safe, and worth copying:

* It acts on the run (``tracker_id``), not on the target, which may be in other cadences under another address.
* It checks before it acts. An event can be old or be delivered twice, so the handler asks Salesforce whether the run is still active.
* It checks the result. A failed action is returned as a value, not raised; a handler that ignores the value assumes success.
* It does not react to its own changes. The removal comes back as events that carry this handler's name; ``ignore_own_changes`` filters
  them out for this handler, and every other handler receives them.
* It does nothing in a replay, where its actions have already been performed: ``ctx.actions`` refuses.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consumer import Context, Handler, LifecycleEvent, RemoveTarget, Retry

__all__ = ["RemoveBounced"]


class RemoveBounced(Handler):
    """Remove runs whose e-mail bounced."""

    class Settings(BaseModel):
        """Error codes to act on, and the disposition to record."""

        model_config = ConfigDict(extra="forbid")

        codes: frozenset[str] = Field(
            default=frozenset({"TARGET_EMAIL_BOUNCED"}),
            min_length=1,
            description="Error codes of a failed step that mean that the address is unusable.",
        )
        disposition: Literal["Bad Data", "Disqualified", "No Response"] = Field(
            default="Bad Data", description="Completion disposition recorded on the run."
        )

    # Events of other types are not even decoded for this handler.
    on = ("step.failed",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Keep the settings; ``ctx.actions`` has its own connection."""
        del ctx
        self._settings = settings

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Remove the run of a step that failed with one of the codes, if it is active."""
        # Failures of templates, quotas or mailboxes say nothing about the address.
        if event.error is None or event.error.code not in self._settings.codes:
            return
        # Always set, since a step's events are ordered by its run; the check is for mypy.
        if event.tracker_id is None:
            return
        # Delivery is at least once: this handler, or a user, may already have removed the run.
        if not await ctx.actions.is_active(event.tracker_id):
            ctx.log.info("e-mail bounced; the run has already ended", run=event.tracker_id)
            return
        # One input, one result. The input validates itself, so a mistake raises here and not in Salesforce's answer.
        removal = RemoveTarget(tracker_id=event.tracker_id, completion_disposition=self._settings.disposition)
        [result] = await ctx.actions.remove([removal])
        # Salesforce refused, perhaps because a user is editing the run. The next attempt checks the run again; after the last one the
        # event becomes a dead letter with this reason. A call that fails altogether raises by itself and is retried in the same way.
        if not result.succeeded:
            raise Retry(reason=f"the run could not be removed: {result.why}")
        ctx.log.info("e-mail bounced; removed the run", run=event.tracker_id, target=event.target_id)
