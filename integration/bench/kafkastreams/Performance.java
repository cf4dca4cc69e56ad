import java.nio.ByteBuffer;

/** The fields of a PerformanceMetrics event that the aggregate takes. */
final class Performance {
    long timestamp;
    double latencyMs;
    long promptTokens;
    long completionTokens;
    boolean hasCost;
    double costUsd;
    boolean error;
    boolean hasQuality;
    double quality;

    /**
     * Reads an event in MessagePack. No name or string is made of its bytes:
     * each field's name is told by its length and first letter, and what is
     * not aggregated is skipped.
     */
    static Performance decode(byte[] data) {
        ByteBuffer b = ByteBuffer.wrap(data);
        Performance v = new Performance();
        int fields = mapLength(b);
        for (int i = 0; i < fields; i++) {
            int length = stringLength(b);
            int name = length << 8 | b.get(b.position());
            b.position(b.position() + length);
            switch (name) {
                case 9 << 8 | 't' -> v.timestamp = integer(b);
                case 10 << 8 | 'l' -> v.latencyMs = b(b, 0xcb).getDouble();
                case 13 << 8 | 'p' -> v.promptTokens = integer(b);
                case 17 << 8 | 'c' -> v.completionTokens = integer(b);
                case 8 << 8 | 'c' -> {
                    v.hasCost = true;
                    v.costUsd = b(b, 0xcb).getDouble();
                }
                case 5 << 8 | 'e' -> v.error = (b.get() & 0xff) == 0xc3;
                case 7 << 8 | 'q' -> {
                    v.hasQuality = true;
                    v.quality = b(b, 0xcb).getDouble();
                }
                default -> skip(b);
            }
        }
        return v;
    }

    /** Consumes the code of a type. */
    private static ByteBuffer b(ByteBuffer b, int code) {
        int found = b.get() & 0xff;
        if (found != code) {
            throw new IllegalArgumentException("code " + found + " where " + code + " is wanted");
        }
        return b;
    }

    private static int mapLength(ByteBuffer b) {
        int c = b.get() & 0xff;
        if ((c & 0xf0) != 0x80) {
            throw new IllegalArgumentException("code " + c + " where a small map is wanted");
        }
        return c & 0x0f;
    }

    private static int stringLength(ByteBuffer b) {
        int c = b.get() & 0xff;
        if ((c & 0xe0) != 0xa0) {
            throw new IllegalArgumentException("code " + c + " where a small string is wanted");
        }
        return c & 0x1f;
    }

    private static long integer(ByteBuffer b) {
        int c = b.get() & 0xff;
        if (c < 0x80) {
            return c;
        }
        return switch (c) {
            case 0xcc -> b.get() & 0xff;
            case 0xcd -> b.getShort() & 0xffff;
            case 0xce -> b.getInt() & 0xffffffffL;
            case 0xcf, 0xd3 -> b.getLong();
            default -> throw new IllegalArgumentException("code " + c + " where an integer is wanted");
        };
    }

    /** Skips a string or bytes of up to 255 bytes. */
    private static void skip(ByteBuffer b) {
        int c = b.get() & 0xff;
        int length;
        if ((c & 0xe0) == 0xa0) {
            length = c & 0x1f;
        } else if (c == 0xc4 || c == 0xd9) {
            length = b.get() & 0xff;
        } else {
            throw new IllegalArgumentException("code " + c + " where bytes or a string are wanted");
        }
        b.position(b.position() + length);
    }
}
