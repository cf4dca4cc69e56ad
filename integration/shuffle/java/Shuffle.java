import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/**
 * Counts events by model in tumbling windows, behind a repartition, by Kafka
 * Streams as its documentation has it. Each change of a window goes to the output
 * topic. It stops when the group has committed the ends of the input and then of
 * the repartition topic, and prints as JSON what it has dropped.
 *
 * <p>Arguments: broker input output application state-folder threads size-ms
 * grace-ms.
 */
public final class Shuffle {
    private static final String REPARTITION = "by-model";

    public static void main(String[] args) throws Exception {
        String input = args[1];
        String application = args[3];
        Duration size = Duration.ofMillis(Long.parseLong(args[6]));
        Duration grace = Duration.ofMillis(Long.parseLong(args[7]));
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.String()))
                .groupBy((session, model) -> model, Grouped.with(REPARTITION, Serdes.String(), Serdes.String()))
                .windowedBy(TimeWindows.ofSizeAndGrace(size, grace))
                .count(Materialized.as("counts"))
                .toStream()
                .to(args[2], Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, size.toMillis()), Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), config(args));
        CountDownLatch failed = new CountDownLatch(1);
        streams.setStateListener((to, from) -> {
            if (to == KafkaStreams.State.ERROR) {
                failed.countDown();
            }
        });
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", args[0]))) {
            Map<TopicPartition, Long> ends = ends(admin, input);
            long began = System.nanoTime();
            streams.start();
            await(admin, application, ends, failed);
            // Committed input has been written to the repartition topic.
            await(admin, application, ends(admin, application + "-" + REPARTITION + "-repartition"), failed);
            double seconds = (System.nanoTime() - began) / 1e9;
            double dropped = streams.metrics().values().stream()
                    .filter(m -> m.metricName().name().equals("dropped-records-total"))
                    .mapToDouble(m -> (Double) m.metricValue()).sum();
            System.out.printf(Locale.ROOT, "{\"dropped\":%.0f,\"seconds\":%.3f}%n", dropped, seconds);
        } finally { // its threads would keep the process
            streams.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                    .withTimeout(Duration.ofSeconds(30)));
        }
    }

    private static Properties config(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[5]);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        p.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        return p;
    }

    /** Waits until the group has committed these offsets. */
    private static void await(Admin admin, String group, Map<TopicPartition, Long> ends, CountDownLatch failed) throws Exception {
        while (true) {
            Map<TopicPartition, Long> at = new HashMap<>();
            admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
                if (offset != null) {
                    at.put(partition, offset.offset());
                }
            });
            if (ends.entrySet().stream().allMatch(end -> at.getOrDefault(end.getKey(), 0L) >= end.getValue())) {
                return;
            }
            if (failed.await(100, TimeUnit.MILLISECONDS)) {
                throw new IllegalStateException("Kafka Streams has failed");
            }
        }
    }

    private static Map<TopicPartition, Long> ends(Admin admin, String topic) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        admin.describeTopics(java.util.List.of(topic)).topicNameValues().get(topic).get().partitions()
                .forEach(p -> asked.put(new TopicPartition(topic, p.partition()), OffsetSpec.latest()));
        Map<TopicPartition, Long> ends = new HashMap<>();
        admin.listOffsets(asked).all().get().forEach((partition, offset) -> ends.put(partition, offset.offset()));
        return ends;
    }
}
