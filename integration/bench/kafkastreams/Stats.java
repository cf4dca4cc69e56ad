import com.datadoghq.sketch.ddsketch.mapping.CubicallyInterpolatedMapping;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The aggregate of a window. The latencies are a DDSketch in the mapping and the
 * accuracy of the Go side. Its bins lie side by side, so that encoding them,
 * which happens for each event, is one copy: DDSketch's own encoding takes
 * several times as long.
 */
final class Stats {
    static final CubicallyInterpolatedMapping MAPPING = new CubicallyInterpolatedMapping(0.009);
    private static final double LEAST = 1e-4;
    private static final double GREATEST = 1e11;
    private static final int FIXED = 10 * Long.BYTES + 2 * Integer.BYTES;
    /** Bins that are added at an end when the range grows. */
    private static final int MARGIN = 16;

    long count;
    long errors;
    long promptTokens;
    long completionTokens;
    double costUsd;
    double qualitySum;
    long qualityCount;
    double latencySum;
    double latencyMax;
    long zeros;
    private int first;
    private int[] bins = {};

    Stats add(Performance v) {
        count++;
        if (v.error) {
            errors++;
        }
        promptTokens += v.promptTokens;
        completionTokens += v.completionTokens;
        if (v.hasCost) {
            costUsd += v.costUsd;
        }
        if (v.hasQuality) {
            qualitySum += v.quality;
            qualityCount++;
        }
        latencySum += v.latencyMs;
        latencyMax = Math.max(latencyMax, v.latencyMs);
        if (v.latencyMs < LEAST) {
            zeros++;
        } else {
            int index = MAPPING.index(Math.min(v.latencyMs, GREATEST));
            reach(index);
            bins[index - first]++;
        }
        return this;
    }

    /** Makes room for a bin. */
    private void reach(int index) {
        if (bins.length == 0) {
            first = index - MARGIN / 2;
            bins = new int[MARGIN];
        } else if (index < first) {
            int from = index - MARGIN;
            int[] wider = new int[bins.length + first - from];
            System.arraycopy(bins, 0, wider, first - from, bins.length);
            first = from;
            bins = wider;
        } else if (index >= first + bins.length) {
            bins = Arrays.copyOf(bins, index - first + 1 + MARGIN);
        }
    }

    Stats merge(Stats from) {
        count += from.count;
        errors += from.errors;
        promptTokens += from.promptTokens;
        completionTokens += from.completionTokens;
        costUsd += from.costUsd;
        qualitySum += from.qualitySum;
        qualityCount += from.qualityCount;
        latencySum += from.latencySum;
        latencyMax = Math.max(latencyMax, from.latencyMax);
        zeros += from.zeros;
        for (int i = 0; i < from.bins.length; i++) {
            if (from.bins[i] > 0) {
                reach(from.first + i);
                bins[from.first + i - first] += from.bins[i];
            }
        }
        return this;
    }

    double mean(double sum) {
        return count == 0 ? 0 : sum / count;
    }

    /** Returns the latency at rank floor(q * (count - 1)). */
    double latency(double q) {
        long rank = (long) Math.floor(q * (count - 1));
        if (rank < zeros) {
            return 0;
        }
        long seen = zeros;
        for (int i = 0; i < bins.length; i++) {
            seen += bins[i];
            if (seen > rank) {
                return Math.min(MAPPING.value(first + i), latencyMax);
            }
        }
        return latencyMax;
    }

    byte[] encode() {
        byte[] out = new byte[FIXED + bins.length * Integer.BYTES];
        ByteBuffer b = ByteBuffer.wrap(out);
        b.putLong(count).putLong(errors).putLong(promptTokens).putLong(completionTokens);
        b.putDouble(costUsd).putDouble(qualitySum).putLong(qualityCount);
        b.putDouble(latencySum).putDouble(latencyMax).putLong(zeros);
        b.putInt(first).putInt(bins.length);
        b.asIntBuffer().put(bins);
        return out;
    }

    static Stats decode(byte[] data) {
        ByteBuffer b = ByteBuffer.wrap(data);
        Stats s = new Stats();
        s.count = b.getLong();
        s.errors = b.getLong();
        s.promptTokens = b.getLong();
        s.completionTokens = b.getLong();
        s.costUsd = b.getDouble();
        s.qualitySum = b.getDouble();
        s.qualityCount = b.getLong();
        s.latencySum = b.getDouble();
        s.latencyMax = b.getDouble();
        s.zeros = b.getLong();
        s.first = b.getInt();
        s.bins = new int[b.getInt()];
        b.asIntBuffer().get(s.bins);
        return s;
    }
}
