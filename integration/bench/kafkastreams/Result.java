import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** What goes to the output topic of one key and window; one without stats takes the window back. */
record Result(String key, long start, long end, Stats stats) {
    /** Encodes the result in MessagePack, with the names that the Go side has. */
    byte[] encode() {
        Packer p = new Packer();
        Stats s = stats == null ? new Stats() : stats;
        p.map(15);
        p.string("key").string(key);
        p.string("window_start").integer(start);
        p.string("window_end").integer(end);
        p.string("pane").string("early");
        p.string("sequence").integer(0);
        p.string("final").bool(false);
        p.string("retracted").bool(stats == null);
        p.string("count").integer(s.count);
        p.string("errors").integer(s.errors);
        p.string("error_rate").real(s.mean(s.errors));
        p.string("prompt_tokens").integer(s.promptTokens);
        p.string("completion_tokens").integer(s.completionTokens);
        p.string("cost_usd").real(s.costUsd);
        p.string("quality_mean");
        if (s.qualityCount == 0) {
            p.nil();
        } else {
            p.real(s.qualitySum / s.qualityCount);
        }
        p.string("latency_ms").map(5);
        p.string("mean").real(s.mean(s.latencySum));
        p.string("p50").real(s.latency(0.50));
        p.string("p95").real(s.latency(0.95));
        p.string("p99").real(s.latency(0.99));
        p.string("max").real(s.latencyMax);
        return p.bytes();
    }

    private static final class Packer {
        private final ByteBuffer b = ByteBuffer.allocate(1024);

        Packer map(int n) {
            b.put((byte) (0x80 | n));
            return this;
        }

        Packer string(String s) {
            byte[] text = s.getBytes(StandardCharsets.UTF_8);
            if (text.length < 32) {
                b.put((byte) (0xa0 | text.length));
            } else {
                b.put((byte) 0xd9).put((byte) text.length);
            }
            b.put(text);
            return this;
        }

        Packer integer(long v) {
            b.put((byte) 0xd3).putLong(v);
            return this;
        }

        Packer real(double v) {
            b.put((byte) 0xcb).putDouble(v);
            return this;
        }

        Packer bool(boolean v) {
            b.put((byte) (v ? 0xc3 : 0xc2));
            return this;
        }

        Packer nil() {
            b.put((byte) 0xc0);
            return this;
        }

        byte[] bytes() {
            byte[] out = new byte[b.position()];
            b.flip().get(out);
            return out;
        }
    }
}
