import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The benchmark's work by Kafka Streams: events by their record key in windows
 * that take late events for 2 minutes, each window that changed to the output
 * topic at every commit. It stops when the group has committed the ends that the
 * input had at its start, or goes on until it is told to stop, and prints what it
 * took as JSON.
 *
 * <p>Arguments: broker input output application state-folder threads commit-ms
 * cache-bytes guarantee shape [live].
 */
public final class Bench {
    public static void main(String[] args) throws Exception {
        String broker = args[0];
        String input = args[1];
        String output = args[2];
        String application = args[3];
        LongAdder results = new LongAdder();
        KafkaStreams streams = new KafkaStreams(topology(input, output, args[9], results), config(args));
        Restores restores = new Restores();
        streams.setGlobalStateRestoreListener(restores);
        AtomicLong running = new AtomicLong();
        CountDownLatch failed = new CountDownLatch(1);
        streams.setStateListener((to, from) -> {
            if (to == KafkaStreams.State.RUNNING) {
                running.compareAndSet(0, System.nanoTime());
            } else if (to == KafkaStreams.State.ERROR) {
                failed.countDown();
            }
        });
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", broker))) {
            Map<TopicPartition, Long> ends = ends(admin, input, OffsetSpec.latest());
            Map<TopicPartition, Long> before = committed(admin, application);
            Map<TopicPartition, Long> starts = ends(admin, input, OffsetSpec.earliest());
            starts.replaceAll((partition, start) -> before.getOrDefault(partition, start));
            boolean live = args.length > 10;
            CountDownLatch told = new CountDownLatch(1);
            if (live) {
                Runtime.getRuntime().addShutdownHook(tell(told));
            }
            streams.start();
            while (live ? told.getCount() > 0 : running.get() == 0 || !reached(committed(admin, application), ends)) {
                if (failed.await(100, TimeUnit.MILLISECONDS)) {
                    throw new IllegalStateException("Kafka Streams has failed");
                }
            }
            long records = sum(live ? committed(admin, application) : ends) - sum(starts);
            double seconds = (System.nanoTime() - running.get()) / 1e9;
            double cpu = cpuSeconds();
            long peak = peakMemory();
            streams.close(CloseOptions.groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
                    .withTimeout(Duration.ofSeconds(30)));
            System.out.printf(Locale.ROOT,
                    "{\"contender\":\"kafka-streams\",\"shape\":\"%s\",\"guarantee\":\"%s\",\"records\":%d,\"seconds\":%.3f,"
                            + "\"records_per_second\":%.1f,\"cpu_seconds\":%.3f,\"records_per_cpu_second\":%.1f,"
                            + "\"peak_rss_bytes\":%d,\"results\":%d,\"restored_records\":%d,\"restore_seconds\":%.3f}%n",
                    args[9], args[8], records, seconds, records / seconds, cpu, records / cpu, peak, results.sum(),
                    restores.records.sum(), restores.seconds());
            if (live) {
                System.out.flush();
                Runtime.getRuntime().halt(0); // not with the code of the signal
            }
        }
    }

    /** Tells the calling thread that the process is to stop, and keeps the process until that thread has ended. */
    private static Thread tell(CountDownLatch told) {
        Thread main = Thread.currentThread();
        return new Thread(() -> {
            told.countDown();
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
    }

    private static org.apache.kafka.streams.Topology topology(String input, String output, String shape, LongAdder results) {
        StreamsBuilder builder = new StreamsBuilder();
        Serde<Performance> events = serde((topic, v) -> { throw new UnsupportedOperationException(); },
                (topic, data) -> Performance.decode(data));
        Serde<Stats> stats = serde((topic, v) -> v == null ? null : v.encode(), (topic, data) -> data == null ? null : Stats.decode(data));
        Serde<Result> result = serde((topic, v) -> v.encode(), (topic, data) -> { throw new UnsupportedOperationException(); });
        KGroupedStream<String, Performance> grouped = builder.stream(input, Consumed.with(Serdes.String(), events)
                        .withTimestampExtractor((record, before) -> ((Performance) record.value()).timestamp))
                .groupByKey(Grouped.with(Serdes.String(), events));
        aggregate(grouped, shape, stats)
                .toStream()
                .map((key, sum) -> {
                    results.increment();
                    // The end of a session is the time of its last event.
                    long end = key.window().end() + (shape.equals("session") ? 1 : 0);
                    return KeyValue.pair(key.key(), new Result(key.key(), key.window().start(), end, sum));
                })
                .to(output, Produced.with(Serdes.String(), result));
        return builder.build();
    }

    private static KTable<Windowed<String>, Stats> aggregate(KGroupedStream<String, Performance> grouped, String shape, Serde<Stats> stats) {
        Duration grace = Duration.ofMinutes(2);
        if (shape.equals("session")) {
            return grouped.windowedBy(SessionWindows.ofInactivityGapAndGrace(Duration.ofMinutes(30), grace))
                    .aggregate(Stats::new, (key, event, sum) -> sum.add(event), (key, one, other) -> one.merge(other),
                            Materialized.<String, Stats, SessionStore<Bytes, byte[]>>as("stats")
                                    .withKeySerde(Serdes.String()).withValueSerde(stats).withCachingEnabled());
        }
        TimeWindows windows = shape.equals("hopping")
                ? TimeWindows.ofSizeAndGrace(Duration.ofMinutes(15), grace).advanceBy(Duration.ofMinutes(1))
                : TimeWindows.ofSizeAndGrace(Duration.ofMinutes(5), grace);
        return grouped.windowedBy(windows)
                .aggregate(Stats::new, (key, event, sum) -> sum.add(event),
                        Materialized.<String, Stats, WindowStore<Bytes, byte[]>>as("stats")
                                .withKeySerde(Serdes.String()).withValueSerde(stats).withCachingEnabled());
    }

    private static Properties config(String[] args) {
        Properties p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[5]);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[6]);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, args[7]);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, args[8].equals("exactly-once") ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 20_000);
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        p.put(StreamsConfig.mainConsumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 << 10);
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        return p;
    }

    private static <T> Serde<T> serde(Serializer<T> to, Deserializer<T> from) {
        return Serdes.serdeFrom(to, from);
    }

    private static Map<TopicPartition, Long> ends(Admin admin, String topic, OffsetSpec which) throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        admin.describeTopics(java.util.List.of(topic)).topicNameValues().get(topic).get().partitions()
                .forEach(p -> asked.put(new TopicPartition(topic, p.partition()), which));
        Map<TopicPartition, Long> ends = new HashMap<>();
        admin.listOffsets(asked).all().get().forEach((partition, offset) -> ends.put(partition, offset.offset()));
        return ends;
    }

    private static Map<TopicPartition, Long> committed(Admin admin, String group) throws Exception {
        Map<TopicPartition, Long> offsets = new HashMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((partition, offset) -> {
            if (offset != null) {
                offsets.put(partition, offset.offset());
            }
        });
        return offsets;
    }

    private static long sum(Map<TopicPartition, Long> offsets) {
        return offsets.values().stream().mapToLong(Long::longValue).sum();
    }

    private static boolean reached(Map<TopicPartition, Long> at, Map<TopicPartition, Long> ends) {
        return ends.entrySet().stream().allMatch(end -> at.getOrDefault(end.getKey(), 0L) >= end.getValue());
    }

    private static double cpuSeconds() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }

    /** Returns the most memory that was resident, in bytes. */
    private static long peakMemory() throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) << 10;
            }
        }
        return 0;
    }

    /** Adds up what is restored, from the first store that begins to the last that ends. */
    private static final class Restores implements StateRestoreListener {
        final LongAdder records = new LongAdder();
        private final AtomicLong began = new AtomicLong();
        private final AtomicLong ended = new AtomicLong();

        double seconds() {
            return (ended.get() - began.get()) / 1e9;
        }

        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            began.compareAndSet(0, System.nanoTime());
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long offset, long n) {
            records.add(n);
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long total) {
            ended.set(System.nanoTime());
        }
    }
}
