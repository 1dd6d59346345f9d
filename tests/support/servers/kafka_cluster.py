"""A Kafka cluster to be unkind to: the mock brokers inside librdkafka, which listen on real sockets and fail when they are told to.

confluent-kafka brings the library and no way to these functions, so they are called by their C names.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import confluent_kafka
from confluent_kafka import Consumer, Message, TopicPartition

PRODUCE = 0
"""Kafka's number for produce requests."""


def _library() -> ctypes.CDLL:
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


class KafkaCluster:
    """Brokers 1, 2 … and one topic."""

    topic = "cadence-events"

    def __init__(self, brokers: int = 3, partitions: int = 4) -> None:
        self._c = _library()
        why = ctypes.create_string_buffer(512)
        client = self._c.rd_kafka_new(0, ctypes.c_void_p(self._c.rd_kafka_conf_new()), why, 512)
        assert client, why.value
        self._client = ctypes.c_void_p(client)
        self._cluster = ctypes.c_void_p(self._c.rd_kafka_mock_cluster_new(self._client, brokers))
        self.brokers, self.partitions = range(1, brokers + 1), partitions
        assert (
            self._c.rd_kafka_mock_topic_create(self._cluster, self.topic.encode(), partitions, brokers) == 0
        )
        self.servers = self._c.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._c.rd_kafka_mock_cluster_destroy(self._cluster)
        self._c.rd_kafka_destroy(self._client)

    def fail(self, errors: Sequence[int]) -> None:
        """The next produce requests are answered so, by each broker; -195 breaks the connection off."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._c.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(PRODUCE), ctypes.c_size_t(len(errors)), codes
        )

    def leads(self, partition: int, broker: int) -> None:
        """Let a broker lead a partition."""
        self._c.rd_kafka_mock_partition_set_leader(
            self._cluster, self.topic.encode(), ctypes.c_int32(partition), ctypes.c_int32(broker)
        )

    def down(self, *brokers: int) -> None:
        for broker in brokers or self.brokers:
            self._c.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(broker))

    def up(self, *brokers: int) -> None:
        for broker in brokers or self.brokers:
            self._c.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(broker))

    def records(self) -> list[Message]:
        """Everything that stands in the topic, in the order of each partition."""
        with self._consumer() as consumer:
            wanted = sum(self._ends(consumer))
            consumer.assign([TopicPartition(self.topic, number, 0) for number in range(self.partitions)])
            found: list[Message] = []
            while len(found) < wanted:
                some = consumer.consume(wanted - len(found), timeout=10)
                assert some, f"{len(found)} of {wanted} records came"
                found += some
            return found

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "test", "log_level": 0})
        try:
            yield consumer
        finally:
            consumer.close()

    def _ends(self, consumer: Consumer) -> Iterator[int]:
        for number in range(self.partitions):
            _, high = consumer.get_watermark_offsets(TopicPartition(self.topic, number), timeout=10)
            yield high


def header(record: Message, name: str) -> str:
    return dict(record.headers() or [])[name].decode()
