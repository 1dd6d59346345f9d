"""Lifecycle events in a Kafka topic, keyed by run.

A consumer group shares the runs, and each consumer reads the events of its runs in order. The value is a CloudEvent in structured mode
(``application/cloudevents+json``), the key is the run (``system`` for events of no run); the headers ``content-type``, ``ce_id`` and
``ce_type`` let consumers filter without parsing values. Keys are mapped to partitions as by Java clients.

A batch is acknowledged when all in-sync replicas have confirmed each of its events (``acks=all``). An event is sent once the preceding
event of its run is confirmed, so no failure lets a later event overtake an earlier one. An event that is sent but not confirmed in time
remains with the producer (idempotent, without a timeout of its own): the next attempt waits for it instead of sending it again. After a
crash, events whose acknowledgement was not saved are sent again: at least once, and in order even with the repeats; consumers
deduplicate by ``ce_id``.

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
    # The service limits attempts and time; a producer that gave up on its own would let later events overtake.
    "message.timeout.ms": 0,
    # One request at a time to each broker: an idempotent producer takes the confirmation of a request as one of all earlier requests too,
    # which holds only where brokers check sequence numbers; not every server that speaks Kafka's protocol does.
    "max.in.flight": 1,
    "partitioner": "murmur2_random",
    "linger.ms": 0,
}
SYSTEM = "system"
OPEN_S = 10.0
CLOSE_S = 4.0
POLL_S = 0.1
MAX_IN_FLIGHT = 10_000
"""Limit of tracked in-flight events; events beyond it are sent again on retry."""
PERMANENT_ERRORS = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD,
})  # fmt: skip
"""Error codes of an event that Kafka will never accept."""

TRANSPORT_ERROR: int = KafkaError._TRANSPORT  # noqa: SLF001 - client-side errors all begin with an underscore

DeliveryResult = Exception | None
Confirmation = asyncio.Future[DeliveryResult]


class Kafka(BatchHandler):
    """Publish each event, keyed by its run."""

    class Settings(BaseModel):
        """Topic, brokers and credentials."""

        model_config = ConfigDict(extra="forbid")

        servers: str = Field(
            min_length=1,
            description="Bootstrap servers, separated by commas, such as `kafka-1:9092,kafka-2:9092`.",
        )
        topic: str = Field(
            default="cadence-events",
            pattern=r"^[A-Za-z0-9._-]{1,249}$",
            description="Name of the topic; default cadence-events. Adding partitions later moves runs to other partitions.",
        )
        security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
            default="plaintext", description="Security protocol of the brokers; default plaintext."
        )
        mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
            default="SCRAM-SHA-512", description="SASL mechanism; default SCRAM-SHA-512."
        )
        username: str | None = Field(default=None, description="User for `sasl_ssl` or `sasl_plaintext`.")
        password: SecretStr | None = Field(default=None, description="Password of the user; never logged.")
        ca_file: str | None = Field(
            default=None, description="File with the CA certificates to trust; default the system's."
        )
        compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
            default="lz4", description="Compression of messages; default lz4."
        )
        timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
            default=15.0,
            description="Seconds to wait until a batch is confirmed; default 15. Must be less than `handlers.<name>.timeout`, which would "
            "cut it off.",
        )
        source: str = Field(
            default="/cadence-consumer",
            min_length=1,
            description="CloudEvents `source` of events whose id does not name an org.",
        )
        options: dict[str, SecretStr] = Field(
            default_factory=dict,
            description="Additional librdkafka options, such as `client.rack`; those that ordering and durability depend on are refused.",
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
                    f"remove {', '.join(reserved)}: ordering and durability depend on these options, or a setting of this handler sets them"
                )
            return options

        @model_validator(mode="after")
        def _check_credentials(self) -> Self:
            if (self.username is None) != (self.password is None):
                raise ValueError("set both username and password, or neither")
            if (self.username is not None) != self.security.startswith("sasl"):
                raise ValueError(
                    "username needs security sasl_ssl or sasl_plaintext, and these need a username; set both or neither"
                )
            return self

    on = ("*",)

    def __init__(self) -> None:
        self._fatal = False
        """Set when the producer cannot continue and must be replaced."""
        self._has_rejections = False
        """Set when an event has failed since the topic was last checked."""

    async def open(self, settings: Settings, ctx: Context) -> None:
        """Connect, and check that the topic exists."""
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
        """Publish the events, in order within a run, and wait until all are confirmed."""
        self._log = ctx.log
        async with self._restart_lock:
            if self._fatal:
                await self.close()
                self._start_producer()
            if self._has_rejections:
                # A producer that has seen the topic refused keeps refusing it until it fetches the metadata again.
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
                error = self._take_result(event.id, confirmation)
                if error is not None:
                    failed[event.id] = error
                    failed |= {behind.id: Retry(reason=f"waits for {event.id}") for behind in lanes[key]}
                if error is not None or not lanes[key]:
                    del lanes[key]
        if failed:
            raise Failed(failed)

    async def close(self) -> None:
        """Disconnect; events not confirmed by then are left to their next attempt."""
        self._closing.set()
        await asyncio.to_thread(self._stop_producer, self._producer, self._polling)
        self._in_flight.clear()

    # ------------------------------------------------------------ the producer

    def _start_producer(self) -> None:
        self._logged_errors: set[str] = set()
        self._closing = threading.Event()
        self._producer = Producer(_options(self._settings) | {"error_cb": self._on_error, "log_level": 0})
        self._polling = threading.Thread(
            target=self._poll, args=(self._producer, self._closing), name="kafka", daemon=True
        )
        self._fatal = False
        self._has_rejections = False
        try:
            self._polling.start()
        except BaseException:
            self._fatal = (
                True  # without its thread nothing is confirmed: the next batch starts another producer
            )
            raise

    def _check_topic(self) -> None:
        topic = self._settings.topic
        metadata = self._producer.list_topics(topic, timeout=OPEN_S).topics[topic]
        if metadata.error is not None:
            raise RuntimeError(
                f"topic {topic}: {metadata.error.str()}; create it, or let the brokers create topics automatically"
            )

    @staticmethod
    def _stop_producer(producer: Producer, polling: threading.Thread) -> None:
        polling.join()
        producer.purge()
        producer.flush(CLOSE_S)

    def _poll(self, producer: Producer, closing: threading.Event) -> None:
        """Poll until closing; called in the polling thread."""
        try:
            while not closing.is_set():
                producer.poll(POLL_S)
        except Exception as error:  # noqa: BLE001 - nothing is confirmed any more: the next batch starts another producer
            self._fatal = True
            self._log.warning("kafka client error", error=type(error).__name__, reason=str(error))

    def _on_error(self, error: KafkaError) -> None:
        """Log an error of the client, and note a fatal one; called in the polling thread."""
        self._fatal = self._fatal or error.fatal()
        # Connections to single brokers come and go, and the loss of all has a code of its own. Any other error is logged once, until
        # an event is confirmed again.
        if error.code() != TRANSPORT_ERROR and error.name() not in self._logged_errors:
            self._logged_errors.add(error.name())
            self._log.warning("kafka client error", error=error.name(), reason=error.str())

    # ------------------------------------------------------------ one event

    def _send(self, event: LifecycleEvent) -> Confirmation:
        """Send the event, unless in flight or already confirmed; return its confirmation."""
        pending = self._in_flight.get(event.id)
        if pending is not None and not (pending.done() and pending.result() is not None):
            return pending
        confirmation: Confirmation = self._loop.create_future()
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
        except Exception as error:  # noqa: BLE001 - whatever it is, this event was not sent, and the others are not to blame
            confirmation.set_result(error)
        else:
            self._in_flight[event.id] = confirmation
            self._in_flight.move_to_end(event.id)
            while len(self._in_flight) > MAX_IN_FLIGHT:
                self._in_flight.popitem(last=False)
        return confirmation

    def _on_delivery_report(self, confirmation: Confirmation, error: KafkaError | None) -> None:
        """Resolve the confirmation; called in the polling thread."""
        if error is not None and error.fatal():
            self._fatal = True
        result = None if error is None else _classify(error)
        try:
            self._loop.call_soon_threadsafe(_resolve, confirmation, result)
        except RuntimeError:
            return  # the loop is closed, so nothing waits for the confirmation

    def _take_result(self, event_id: str, confirmation: Confirmation) -> DeliveryResult:
        if not confirmation.done():
            return Retry(reason=f"not confirmed within {self._settings.timeout:g} s")
        if self._in_flight.get(event_id) is confirmation:
            del self._in_flight[event_id]
        error = confirmation.result()
        if error is None:
            self._logged_errors.clear()
        else:
            self._has_rejections = True
        return error


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


def _resolve(confirmation: Confirmation, result: DeliveryResult) -> None:
    if not confirmation.done():
        confirmation.set_result(result)


def _classify(error: KafkaError) -> Exception:
    text = f"{error.name()}: {error.str()}"
    permanent = error.code() in PERMANENT_ERRORS
    return Reject(f"Kafka will never accept this event: {text}") if permanent else Retry(reason=text)


def _key_of(event: LifecycleEvent) -> str:
    return event.tracker_id or SYSTEM
