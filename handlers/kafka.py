"""Lifecycle events in a Kafka topic, keyed by run, so that the consumers of a group share the runs and each sees its runs in order.

The value is a CloudEvent in structured mode (``application/cloudevents+json``), the key the run (``system`` for events of no run); the
headers ``content-type``, ``ce_id`` and ``ce_type`` let consumers choose without reading values. Keys are spread over partitions as Java
clients do it.

A batch counts as delivered when every broker that must has confirmed each of its events. An event of a run is sent when the one before it
is confirmed, so a failure, of whatever kind, never lets a later one pass. What was sent and is not confirmed in time stays with the
producer (idempotent, without a limit of its own): the next attempt waits for it instead of sending it again. After a crash, events
whose confirmation was not saved are sent again: at least once, in order, the repeats too; consumers tell by ``ce_id``.

Needs the extra: ``pip install 'cadence-consumer[kafka]'``.

::

    [handlers.lake]
    use = "kafka"
    settings.servers = "kafka-1:9092,kafka-2:9092"
    settings.topic = "cadence-events"
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from consumer import BatchHandler, Context, Failed, LifecycleEvent, Reject, Retry

try:
    from confluent_kafka import KafkaError, KafkaException, Producer
except ImportError as missing:
    raise ImportError("confluent-kafka is not installed; pip install 'cadence-consumer[kafka]'") from missing

__all__ = ["Kafka"]

FIXED_OPTIONS = {
    "enable.idempotence": True,
    "acks": "all",
    # The service counts attempts and time; a producer that gives up by itself would let later events pass.
    "message.timeout.ms": 0,
    # One request at a time to each broker: an idempotent producer takes a later confirmation for that of an earlier request too, which
    # is right only where brokers check sequence numbers, and not everything that speaks Kafka's protocol does.
    "max.in.flight": 1,
    "partitioner": "murmur2_random",
    "linger.ms": 0,
}
SYSTEM = "system"
OPEN_S = 10.0
CLOSE_S = 4.0
POLL_S = 0.1
MAX_IN_FLIGHT = 10_000
"""Events under way that are remembered, at most; one that is forgotten is sent again by its next attempt."""
PERMANENT_ERRORS = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD,
})  # fmt: skip
"""What Kafka says to an event that it will not take tomorrow either."""

TRANSPORT_ERROR: int = KafkaError._TRANSPORT  # noqa: SLF001 - the names of the client's own errors begin so

DeliveryResult = Exception | None
Confirmation = asyncio.Future[DeliveryResult]


class Kafka(BatchHandler):
    """Publishes each event, keyed by its run."""

    class Settings(BaseModel):
        """Which topic, and how the brokers are reached."""

        model_config = ConfigDict(extra="forbid")

        servers: str = Field(
            min_length=1,
            description="Brokers to begin with, separated by commas, such as `kafka-1:9092,kafka-2:9092`.",
        )
        topic: str = Field(
            default="cadence-events",
            pattern=r"^[A-Za-z0-9._-]{1,249}$",
            description="The topic; default cadence-events. More partitions later move runs to other partitions.",
        )
        security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
            default="plaintext", description="How brokers are spoken to; default plaintext."
        )
        mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
            default="SCRAM-SHA-512", description="How the user is authenticated; default SCRAM-SHA-512."
        )
        username: str | None = Field(default=None, description="With sasl_ssl or sasl_plaintext.")
        password: SecretStr | None = Field(default=None, description="Of the user; never logged.")
        ca_file: str | None = Field(default=None, description="Certificates to trust; default the system's.")
        compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
            default="lz4", description="Of what is sent; default lz4."
        )
        timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
            default=15.0,
            description="Seconds until a batch must be confirmed; default 15. Less than `handlers.<name>.timeout`, which cuts in else.",
        )
        source: str = Field(
            default="/cadence-consumer",
            min_length=1,
            description="The CloudEvents `source` where an event does not tell its org.",
        )
        options: dict[str, SecretStr] = Field(
            default_factory=dict,
            description="Further options of librdkafka, such as `client.rack`; not those that order and safety rest on.",
        )

        @field_validator("options")
        @classmethod
        def _reject_reserved(cls, options: dict[str, SecretStr]) -> dict[str, SecretStr]:
            aliases = {
                "request.required.acks",
                "delivery.timeout.ms",
                "queue.buffering.max.ms",
                "bootstrap.servers",
                "metadata.broker.list",
            }
            if reserved := sorted(options.keys() & (FIXED_OPTIONS.keys() | aliases)):
                raise ValueError(
                    f"{', '.join(reserved)} cannot be set here: order and safety rest on it, or a setting of its own says it"
                )
            return options

        @model_validator(mode="after")
        def _check_credentials(self) -> Self:
            if (self.username is None) != (self.password is None):
                raise ValueError("username and password belong together: give both or none")
            if (self.username is not None) != self.security.startswith("sasl"):
                raise ValueError("a user is for security sasl_ssl or sasl_plaintext, and those need one")
            return self

    on = ("*",)

    def __init__(self) -> None:
        self._fatal = False
        """Whether the producer cannot go on, and another one is needed."""
        self._has_rejections = False
        """Whether something was not taken since the topic was looked at."""

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Connect, and see whether the topic is there."""
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._in_flight: OrderedDict[str, Confirmation] = OrderedDict()
        self._log = ctx.log
        self._restart_lock = asyncio.Lock()
        self._start_producer()
        try:
            await asyncio.to_thread(self._check_topic)
        except BaseException:
            await self.close()
            raise

    async def handle_batch(self, events: Sequence[LifecycleEvent], ctx: Context) -> None:
        """Publish the events, those of one run one after the other, and wait until each is confirmed."""
        self._log = ctx.log
        async with self._restart_lock:
            if self._fatal:
                await self.close()
                self._start_producer()
            if self._has_rejections:
                # A topic that was refused once is refused by the producer itself until it looks again.
                await asyncio.to_thread(self._check_topic)
                self._has_rejections = False
        lanes: defaultdict[str, deque[LifecycleEvent]] = defaultdict(deque)
        for event in events:
            lanes[_key_of(event)].append(event)
        failed: dict[str, str | Exception] = {}
        deadline = self._loop.time() + self._settings.timeout
        while lanes:
            first = {key: self._send(lane[0]) for key, lane in lanes.items()}
            await asyncio.wait(first.values(), timeout=max(0.0, deadline - self._loop.time()))
            for key, confirmation in first.items():
                event = lanes[key].popleft()
                why = self._take_result(event.id, confirmation)
                if why is not None:
                    failed[event.id] = why
                    failed |= {each.id: Retry(reason=f"waits for {event.id}") for each in lanes[key]}
                if why is not None or not lanes[key]:
                    del lanes[key]
        if failed:
            raise Failed(failed)

    async def close(self) -> None:
        """Disconnect; what is not confirmed by then is the next attempt's."""
        self._closing.set()
        await asyncio.to_thread(self._stop_producer, self._producer, self._polling)
        self._in_flight.clear()

    # ------------------------------------------------------------ the producer

    def _start_producer(self) -> None:
        self._fatal = False
        self._has_rejections = False
        self._logged_errors: set[str] = set()
        self._closing = threading.Event()
        self._producer = Producer(_options(self._settings) | {"error_cb": self._on_error, "log_level": 0})
        self._polling = threading.Thread(
            target=_poll, args=(self._producer, self._closing), name="kafka", daemon=True
        )
        self._polling.start()

    def _check_topic(self) -> None:
        topic = self._settings.topic
        found = self._producer.list_topics(topic, timeout=OPEN_S).topics[topic]
        if found.error is not None:
            raise RuntimeError(f"topic {topic}: {found.error.str()}; create it, or allow it to be made")

    @staticmethod
    def _stop_producer(producer: Producer, polling: threading.Thread) -> None:
        polling.join()
        producer.purge()
        producer.flush(CLOSE_S)

    def _on_error(self, error: KafkaError) -> None:
        """Called in the polling thread: a broker is gone, all are, or the producer cannot go on."""
        self._fatal = self._fatal or error.fatal()
        # One broker's connection comes and goes, and that all are gone is told apart; the rest is told until something is confirmed again.
        if error.code() != TRANSPORT_ERROR and error.name() not in self._logged_errors:
            self._logged_errors.add(error.name())
            self._log.warning("kafka", error=error.name(), why=error.str())

    # ------------------------------------------------------------ one event

    def _send(self, event: LifecycleEvent) -> Confirmation:
        """Its confirmation; sends it unless it is under way or was confirmed meanwhile."""
        known = self._in_flight.get(event.id)
        if known is not None and not (known.done() and known.result() is not None):
            return known
        confirmation = self._in_flight[event.id] = self._loop.create_future()
        self._in_flight.move_to_end(event.id)
        while len(self._in_flight) > MAX_IN_FLIGHT:
            self._in_flight.popitem(last=False)
        try:
            self._producer.produce(
                self._settings.topic,
                event.to_cloudevent(self._settings.source),
                key=_key_of(event).encode(),
                headers=[
                    ("content-type", b"application/cloudevents+json; charset=utf-8"),
                    ("ce_id", event.id.encode()),
                    ("ce_type", f"cadence.{event.type}".encode()),
                ],
                on_delivery=lambda error, _message: self._on_delivery_report(confirmation, error),
            )
        except BufferError:
            confirmation.set_result(Retry(reason="the producer's queue is full"))
        except KafkaException as error:
            confirmation.set_result(_classify(error.args[0]))
        return confirmation

    def _on_delivery_report(self, confirmation: Confirmation, error: KafkaError | None) -> None:
        """Called in the polling thread."""
        if error is not None and error.fatal():
            self._fatal = True
        result = None if error is None else _classify(error)
        try:
            self._loop.call_soon_threadsafe(_resolve, confirmation, result)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _take_result(self, event_id: str, confirmation: Confirmation) -> DeliveryResult:
        if not confirmation.done():
            return Retry(reason=f"not confirmed within {self._settings.timeout:g} s")
        if self._in_flight.get(event_id) is confirmation:
            del self._in_flight[event_id]
        why = confirmation.result()
        if why is None:
            self._logged_errors.clear()
        else:
            self._has_rejections = True
        return why


def _options(settings: Kafka.Settings) -> dict[str, Any]:
    options: dict[str, Any] = {name: value.get_secret_value() for name, value in settings.options.items()}
    options |= {
        **FIXED_OPTIONS,
        "bootstrap.servers": settings.servers,
        "security.protocol": settings.security,
        "compression.type": settings.compression,
    }
    if settings.username is not None and settings.password is not None:
        options |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password.get_secret_value(),
        }
    if settings.ca_file is not None:
        options["ssl.ca.location"] = settings.ca_file
    return options


def _poll(producer: Producer, closing: threading.Event) -> None:
    while not closing.is_set():
        producer.poll(POLL_S)


def _resolve(confirmation: Confirmation, result: DeliveryResult) -> None:
    if not confirmation.done():
        confirmation.set_result(result)


def _classify(error: KafkaError) -> Exception:
    why = f"{error.name()}: {error.str()}"
    return (
        Reject(f"Kafka will never take it: {why}") if error.code() in PERMANENT_ERRORS else Retry(reason=why)
    )


def _key_of(event: LifecycleEvent) -> str:
    return event.tracker_id or SYSTEM
