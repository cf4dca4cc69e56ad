import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.test.TestRecord;

/**
 * Runs cases through Kafka Streams' TopologyTestDriver: windowed aggregates whose
 * value is the list of the records in it. Cases come on standard input, results go
 * to standard output.
 *
 * <pre>
 * case NAME KIND SIZE ADVANCE GRACE EMIT STORE LIMIT BOUND
 *                                                 KIND time, sliding, session, table; EMIT update, close, suppress, limit
 * KEY TIME VALUE                                  a record; any number of them
 * end
 * </pre>
 *
 * For each record there is a line for each result that it brings,
 * {@code result INDEX KEY START END TIME VALUE}, with VALUE {@code -} for a null, and no
 * window of a table; LIMIT and BOUND are milliseconds and records, 0 for no bound;
 * then {@code dropped COUNT} and {@code end}.
 */
public final class Differential {
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            run(line.split(" "), in, args[0]);
        }
        OUT.flush();
    }

    private static void run(String[] head, BufferedReader in, String stateDir) throws IOException {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, head[1]);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:1");
        config.put(StreamsConfig.STATE_DIR_CONFIG, stateDir);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        // Final results come with the record that closes the window, not once a second.
        config.put("__emit.interval.ms.kstreams.windowed.aggregation__", 0L);
        OUT.println("case " + head[1]);
        try (TopologyTestDriver driver = new TopologyTestDriver(topology(head), config, Instant.EPOCH)) {
            TestInputTopic<String, String> input = driver.createInputTopic("in", new StringSerializer(), new StringSerializer());
            TestOutputTopic<String, String> output = driver.createOutputTopic("out", new StringDeserializer(), new StringDeserializer());
            int index = 0;
            for (String line = in.readLine(); !line.equals("end"); line = in.readLine()) {
                String[] fields = line.split(" ");
                input.pipeInput(fields[0], fields[2], Long.parseLong(fields[1]));
                for (TestRecord<String, String> r : output.readRecordsToList()) {
                    OUT.println("result " + index + " " + r.key() + " " + r.timestamp() + " " + r.value());
                }
                index++;
            }
            OUT.println("dropped " + dropped(driver));
        }
        OUT.println("end");
    }

    private static long dropped(TopologyTestDriver driver) {
        double sum = 0;
        for (Map.Entry<MetricName, ? extends Metric> m : driver.metrics().entrySet()) {
            if (m.getKey().name().equals("dropped-records-total")) {
                sum += (Double) m.getValue().metricValue();
            }
        }
        return (long) sum;
    }

    private static Topology topology(String[] head) {
        String kind = head[2];
        Duration size = millis(head[3]);
        Duration advance = millis(head[4]);
        Duration grace = millis(head[5]);
        String emit = head[6];
        Materialized.StoreType store = head[7].equals("rocksdb") ? Materialized.StoreType.ROCKS_DB : Materialized.StoreType.IN_MEMORY;
        EmitStrategy strategy = emit.equals("close") ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
        StreamsBuilder builder = new StreamsBuilder();
        KGroupedStream<String, String> grouped = builder.stream("in", Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()));
        if (kind.equals("table")) {
            grouped.aggregate(() -> "", Differential::add, Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("store")
                    .withStoreType(store).withKeySerde(Serdes.String()).withValueSerde(Serdes.String()).withCachingDisabled())
                .suppress(limit(head)).toStream().map((k, v) -> KeyValue.pair(k + " 0 0", v))
                .to("out", Produced.with(Serdes.String(), Serdes.String()));
            return builder.build();
        }
        KTable<Windowed<String>, String> table = switch (kind) {
            case "time" -> grouped.windowedBy(TimeWindows.ofSizeAndGrace(size, grace).advanceBy(advance)).emitStrategy(strategy)
                .aggregate(() -> "", Differential::add, windows(store));
            case "sliding" -> grouped.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(size, grace)).emitStrategy(strategy)
                .aggregate(() -> "", Differential::add, windows(store));
            case "session" -> grouped.windowedBy(SessionWindows.ofInactivityGapAndGrace(size, grace)).emitStrategy(strategy)
                .aggregate(() -> "", Differential::add, (key, a, b) -> add(key, b, a), sessions(store));
            default -> throw new IllegalArgumentException("kind " + kind);
        };
        if (emit.equals("suppress")) {
            table = table.suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()));
        } else if (emit.equals("limit")) {
            table = table.suppress(limit(head));
        }
        table.toStream()
            .map((k, v) -> KeyValue.pair(k.key() + " " + k.window().start() + " " + k.window().end(), v == null ? "-" : v))
            .to("out", Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    private static <K> Suppressed<K> limit(String[] head) {
        long bound = Long.parseLong(head[9]);
        return bound == 0 ? Suppressed.untilTimeLimit(millis(head[8]), BufferConfig.unbounded())
            : Suppressed.untilTimeLimit(millis(head[8]), BufferConfig.maxRecords(bound).emitEarlyWhenFull());
    }

    private static Duration millis(String text) {
        return Duration.ofMillis(Long.parseLong(text));
    }

    /** Adds a list to another, either of which may be empty. */
    private static String add(String key, String more, String list) {
        return list.isEmpty() ? more : more.isEmpty() ? list : list + "," + more;
    }

    private static Materialized<String, String, WindowStore<Bytes, byte[]>> windows(Materialized.StoreType type) {
        return Materialized.<String, String, WindowStore<Bytes, byte[]>>as("store").withStoreType(type)
            .withKeySerde(Serdes.String()).withValueSerde(Serdes.String()).withCachingDisabled();
    }

    private static Materialized<String, String, SessionStore<Bytes, byte[]>> sessions(Materialized.StoreType type) {
        return Materialized.<String, String, SessionStore<Bytes, byte[]>>as("store").withStoreType(type)
            .withKeySerde(Serdes.String()).withValueSerde(Serdes.String()).withCachingDisabled();
    }
}
