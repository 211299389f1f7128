"""A Kafka broker for tests: librdkafka's own, which speaks the protocol, and keeps messages while this process lives.

Prints its address. For each line ``TOPIC COUNT`` it prints that many messages of the topic, the headers of each.
"""

from __future__ import annotations

import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition


def main() -> None:
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    for line in sys.stdin:
        topic, count = line.split()
        consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "tests", "log_level": 0})
        partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        messages = consumer.consume(int(count), timeout=60)
        headers = [{name: value.decode() for name, value in message.headers() or ()} for message in messages]
        print(json.dumps(headers), flush=True)
        consumer.close()


if __name__ == "__main__":
    main()
