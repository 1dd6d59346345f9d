"""Takes a target out of its cadence when a mail to it bounced: an example of closing the loop safely.

A bounced address makes every further mail of the cadence a bounce too, and bounces cost the sender's reputation. So when a step fails
because the mail came back, this handler removes that run, with a disposition that says why.

::

    [handlers.remove_bounced]
    use = "remove_bounced"
    max_age = "24h"                     # nobody wants last month's bounces acted upon after a long downtime
    settings.disposition = "Bad Data"

What makes it safe, and worth copying:

* It acts on the run (``tracker_id``), not on the target, who may be in other cadences by another address.
* It looks before it acts. An event can be delivered twice, and it can be old; whether the run is still going is asked of Salesforce.
* It reads the result. An action that failed is a value, not an exception; to ignore it would be to believe that it was done.
* It does not answer its own echo. The removal comes back as events, signed with this handler's name, and is left out for it
  (``ignore_own_changes``); handlers that want to know of the removal get it.
* It does nothing in a replay, where everything it would do has been done: ``ctx.actions`` refuses.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from consumer import Context, Handler, LifecycleEvent, RemoveTarget, Retry

__all__ = ["RemoveBounced"]


class RemoveBounced(Handler):
    """Removes runs whose mail bounced."""

    class Settings(BaseModel):
        """Which failures count, and what is recorded."""

        model_config = ConfigDict(extra="forbid")

        codes: frozenset[str] = Field(
            default=frozenset({"TARGET_EMAIL_BOUNCED"}),
            min_length=1,
            description="Error codes of a step that mean that the address is of no use.",
        )
        disposition: Literal["Bad Data", "Disqualified", "No Response"] = Field(
            default="Bad Data", description="How the run came out, as recorded on it."
        )

    # Only failures of steps are of interest; whatever else happens is never even decoded for this handler.
    on = ("step.failed",)

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Keep the settings; there is nothing to connect to, since ``ctx.actions`` brings its own connection."""
        del ctx
        self._settings = settings

    async def handle(self, event: LifecycleEvent, ctx: Context) -> None:
        """Remove the run of a step that failed with one of the codes, if it is still going."""
        # Templates, quotas, mailboxes: failures that say nothing about the address are somebody else's business.
        if event.error is None or event.error.code not in self._settings.codes:
            return
        # A step's events are ordered by its run, so the run is known; mypy wants to be told.
        if event.tracker_id is None:
            return
        # Events are delivered at least once: the run may have been removed by us a moment ago, or by a person.
        if not await ctx.actions.is_active(event.tracker_id):
            ctx.log.info("bounced, and the run is over already", run=event.tracker_id)
            return
        # One input, one result. Making the input checks it, so a mistake in it shows here and not at Salesforce.
        removal = RemoveTarget(tracker_id=event.tracker_id, completion_disposition=self._settings.disposition)
        [result] = await ctx.actions.remove([removal])
        # Salesforce said no: perhaps somebody is editing the run. Another attempt looks again first; when all have failed, the event
        # becomes a dead letter that names this reason. A call that broke raises by itself and is repeated in the same way.
        if not result.succeeded:
            raise Retry(reason=f"the run could not be removed: {result.why}")
        ctx.log.info("bounced, and the run was removed", run=event.tracker_id, target=event.target_id)
